from django.contrib import admin

from .models import Announcement, Message, Room

admin.site.register([Announcement, Message, Room])
