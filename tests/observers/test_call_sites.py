"""Every call that hands a client's arguments to application code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.observers.sources import sources

#: What a message holds beside ``action`` and ``request_id``: ``Call.arguments``, and
#: what methods get of it as ``**kwargs``. Each call is `module: code it calls`.
FROM_CLIENTS = {
    # The action itself, after its names were checked.
    "consumers: self.handle_action": 1,
    "consumers: self.check_permissions": 1,
    "consumers: method": 1,
    # Permissions.
    "consumers: self.get_permissions": 1,
    "consumers: async_to_sync(self.get_permissions)": 1,
    "consumers: ask": 1,
    "generics: self.permissions_now": 1,
    "generics: ask_now": 1,
    "permissions: self._all": 3,
    "permissions: self._any": 2,
    "permissions: ask": 7,
    "asking_in_turn: method": 2,
    "asking_in_turn: in_turn_of": 1,
    "asking_in_turn: database_sync_to_async(work)": 1,
    "asking_in_turn: in_turn": 1,
    "event_permissions: consumer.check_permissions": 2,
    "event_permissions: in_turn_of": 2,
    "event_permissions: question.method": 1,
    "event_permissions: ask_now": 1,
    "subscriptions: self.consumer.check_permissions": 1,
    # Objects and serializers.
    "generics: self.get_queryset": 2,
    "generics: self.filter_queryset": 2,
    "generics: self.check_object_permissions": 1,
    "generics: self.get_serializer_class": 1,
    "generics: self.paginate_queryset": 1,
    "generics: paginator.paginate_queryset": 1,
    "pagination: self.get_limit": 1,
    "pagination: self.get_offset": 1,
    "generics: self.get_serializer_context": 1,
    "instances: consumer.get_object": 1,
    "instances: database_sync_to_async(self.get_object)": 1,
    "lists: consumer.get_queryset": 1,
    "mixins: self.list_data": 1,
    "mixins: database_sync_to_async(self.list_data)": 1,
    "mixins: self.get_object": 4,
    "mixins: self.perform_create": 1,
    "mixins: self.perform_update": 1,
    "mixins: self.perform_patch": 1,
    "mixins: self.perform_delete": 1,
    "shared_query: consumer.get_queryset": 1,
    "shared_query: consumer.filter_queryset": 1,
    "shared_query: consumer.get_object": 1,
    "shared_query: consumers[0].get_object": 1,
    "shared_query: consumer.list_data": 1,
    "shared_query: retrieve": 1,
    # A handler that is used through the class.
    "handlers: bound.subscribe": 1,
    "handlers: bound.unsubscribe": 1,
    # Running a method of the consumer's in another way.
    "actions: function": 1,
    "actions: database_sync_to_async(call)": 1,
    # What an action passes on to an observer, if it does.
    "handlers: self.observer.consumer_groups": 2,
    "handlers: self._groups_for_consumer": 1,
}
#: The other expansions: of what the server says.
FROM_THE_SERVER = {
    "api_connection: cls": 2,
    "api_connection: self.receive_json": 1,
    "api_connection: super().__init_subclass__": 1,
    "consumers: self.get_action_name": 1,
    "consumers: self.handle_exception": 1,
    "consumers: AsyncAPIConsumer.handle_exception": 1,
    "consumers: self.reply": 2,
    "consumers: self.websocket_reply": 2,
    "consumers: super().__init_subclass__": 1,
    "generics: self.get_serializer_class(**action_kwargs)": 1,
    "stand_in_client: serializer": 1,
    "generics: queryset.get": 1,
    "handlers: self.observer.handler": 1,
    "handlers: observer.handler": 1,
    "handlers: self._groups_for_signal": 1,
    "instances: super().__init_subclass__": 1,
    "lists: super().__init_subclass__": 1,
    "model_observers: self._serializer": 1,
    "multiplexer: super().as_asgi": 1,
    "notice: cls": 1,
    "row_subscription: super().__init__": 1,
    "signal_observers: self._serializer": 1,
    "signal_observers: self.serialize": 1,
    "signal_observers: self.signal_groups": 1,
    "signal_observers: self.signal.connect": 1,
    "shared_query: super().__init__": 2,
}
#: Dictionaries that are put together from others, none of which a client sent.
MERGED = {
    "replies: {**(extra or {})}": 1,
    "notice: {**given}": 1,
    "signal_observers: {**kwargs}": 1,
}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for module, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _expansions(node):
                yield f"{module}: {ast.unparse(node.func)}", node


def _expansions(call: ast.Call) -> list[ast.keyword]:
    return [keyword for keyword in call.keywords if keyword.arg is None]


def counted(names: Iterator[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def test_every_expansion_is_listed() -> None:
    """A new call belongs into one of the tables, after some thought."""
    assert not FROM_CLIENTS.keys() & FROM_THE_SERVER.keys()
    assert counted(name for name, _ in calls()) == FROM_CLIENTS | FROM_THE_SERVER


def test_nothing_stands_beside_what_a_client_says() -> None:
    """One expansion a call: Python refuses a keyword that the library gives as well."""
    for name, call in calls():
        if name in FROM_CLIENTS:
            assert len(_expansions(call)) == 1, name


def test_arguments_of_clients_are_not_merged_into_other_dictionaries() -> None:
    merged = (
        (module, node, inner)
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, inner in zip(node.keys, node.values, strict=True)
        if key is None
    )

    assert (
        counted(f"{module}: {{**{_wrapped(inner)}}}" for module, _, inner in merged)
        == MERGED
    )


def _wrapped(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name) else f"({text})"


def test_partial_takes_no_arguments_of_clients() -> None:
    """`partial(f, event=True)(**arguments)` would let the arguments win."""
    for name, _ in calls():
        assert not name.endswith(": partial"), name
