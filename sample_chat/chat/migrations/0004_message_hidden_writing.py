from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0003_message_created")]

    operations = [
        migrations.AddField(
            model_name="message",
            name=name,
            field=models.BooleanField(default=False, editable=False),
        )
        for name in ("hidden", "writing")
    ]
