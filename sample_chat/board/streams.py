import turbo

from .models import Board, Card


class BoardStream(turbo.ModelStream):
    """A change of the board, or of a card on it, refreshes every page that shows it."""

    class Meta:
        model = Board
        refreshes = True

    def user_passes_test(self, user):
        return user.is_authenticated


class CardStream(turbo.ModelStream):
    class Meta:
        model = Card

    def user_passes_test(self, user):
        return user.is_authenticated

    def on_save(self, card, *args, **kwargs):
        BoardStream.from_pk(card.board_id).refresh()

    def on_delete(self, card, *args, **kwargs):
        BoardStream.from_pk(card.board_id).refresh()
