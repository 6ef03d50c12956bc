from django.contrib import admin

from .models import Board, Card

admin.site.register([Board, Card])
