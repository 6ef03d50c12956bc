from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [("chat", "0002_message_key")]

    operations = [
        migrations.AlterField(
            model_name="message",
            name="created",
            field=models.DateTimeField(default=timezone.now, editable=False),
        )
    ]
