import turbo


class BroadcastStream(turbo.Stream):
    pass
