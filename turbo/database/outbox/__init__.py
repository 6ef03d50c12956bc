"""
The outbox: committed changes survive the process that has made them.

:mod:`~turbo.database.outbox.writing` adds a row to each transaction with changes of
durable models, :mod:`~turbo.database.outbox.tracking` deletes the row when everything
has been sent, and :mod:`~turbo.database.outbox.relay` tells what ended processes have
left behind.
"""
