from .models import Room


def rooms(request):
    """Add the rooms of the list; only pages that show them run the query."""
    return {"rooms": Room.objects.with_summary()}
