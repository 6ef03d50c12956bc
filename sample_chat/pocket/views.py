from django.shortcuts import render


def pocket(request):
    """A page that knows nothing but the address of the WebSocket."""
    return render(request, "pocket/pocket.html")
