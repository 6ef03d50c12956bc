from turbo.bindings import BindingConsumer

from .bindings import Scores


class ScoresConsumer(BindingConsumer):
    event = "scores"
    binding = Scores

    def user_passes_test(self, user):
        return user.is_authenticated
