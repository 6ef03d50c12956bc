from .models import Room


def rooms(request):
    """The rooms of the list; asked for only by the pages that show it."""
    return {"rooms": Room.objects.with_summary()}
