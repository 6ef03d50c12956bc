from django.shortcuts import render


def pocket(request):
    """Show a page that contains only the address of the WebSocket."""
    return render(request, "pocket/pocket.html")
