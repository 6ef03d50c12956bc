from django.db import models


class Board(models.Model):
    name = models.CharField(max_length=60)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.name

    def columns(self):
        """Each column with its cards, in the order of the board."""
        cards = list(self.cards.all())
        return [
            (column, [card for card in cards if card.column == column])
            for column in Card.Column
        ]


class Card(models.Model):
    class Column(models.TextChoices):
        TODO = "todo", "To do"
        DOING = "doing", "Doing"
        DONE = "done", "Done"

    board = models.ForeignKey(Board, models.CASCADE, related_name="cards")
    title = models.CharField("title", max_length=120)
    column = models.CharField(max_length=10, choices=Column, default=Column.TODO)

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.title
