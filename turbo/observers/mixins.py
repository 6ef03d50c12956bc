"""The usual actions, each as a mixin for ``GenericAsyncAPIConsumer``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from turbo.observers.actions import action
from turbo.runtime.threads import database_sync_to_async

if TYPE_CHECKING:
    from turbo.observers.generics import GenericAsyncAPIConsumer as Base
else:
    Base = object

__all__ = [
    "CreateModelMixin",
    "DeleteModelMixin",
    "ListModelMixin",
    "PaginatedModelListMixin",
    "PatchModelMixin",
    "RetrieveModelMixin",
    "StreamedPaginatedListMixin",
    "UpdateModelMixin",
]


class ListModelMixin(Base):
    """
    ``list``: the objects, or a page of them.

    ::

        → {"action": "list", "request_id": 1, "query": {"room": 3}, "limit": 2}
        ← {"action": "list", "errors": [], "response_status": 200, "request_id": 1,
           "data": [{"id": 1}, {"id": 2}]}
    """

    @action()
    def list(self, **kwargs: Any) -> tuple[Any, int]:
        """Answer with the objects that the message asks for."""
        return self.list_data(**kwargs), 200


class PaginatedModelListMixin(ListModelMixin):
    """``list`` in the pages of ``pagination_class``."""


class StreamedPaginatedListMixin(PaginatedModelListMixin):
    """
    ``list`` in several answers: page by page, until all have been sent.

    The action is detached: the client may call others meanwhile, and ``list_cancel``
    ends it. Each further page counts as a frame of the client (``FRAMES`` of
    :confval:`CONNECTION_LIMITS`), so the rate of pages is limited.
    """

    #: Seconds between two pages.
    sleep_time_between_pages: float = 0

    @action(detached=True)
    async def list(
        self, request_id: Any = None, action: str = "list", **kwargs: Any
    ) -> None:
        """Answer with one page after the other."""
        limit, offset, count = 1, 0, 1
        while limit and offset < max(count, 1):
            if offset:
                await asyncio.sleep(self.sleep_time_between_pages)
                await self.visitor.budget.next_frame(self.websocket_limited)
            page = await database_sync_to_async(self.list_data)(**kwargs)
            await self.reply(action, data=page, request_id=request_id)
            known = page if isinstance(page, dict) else {}
            limit, count = known.get("limit", 0), known.get("count", 0)
            offset = known.get("offset", 0) + limit
            kwargs["offset"] = offset

    @action()
    async def list_cancel(self, **kwargs: Any) -> tuple[None, int]:
        """Send no further pages of any list."""
        tasks = [*self.detached_tasks["list"]]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return None, 200


class CreateModelMixin(Base):
    """
    ``create``: a new object from the message's data.

    ::

        → {"action": "create", "request_id": 2, "data": {"name": "Ann"}}
        ← {"action": "create", "errors": [], "response_status": 201, "request_id": 2,
           "data": {"id": 7, "name": "Ann"}}
    """

    @action()
    def create(self, data: Any, **kwargs: Any) -> tuple[Any, int]:
        """Create, and answer with the object."""
        serializer = self.get_serializer(data=data, action_kwargs=kwargs)
        serializer.is_valid(raise_exception=True)
        self.perform_create(serializer, **kwargs)
        return serializer.data, 201

    def perform_create(self, serializer: Any, **kwargs: Any) -> None:
        """Save the valid serializer."""
        serializer.save()


class RetrieveModelMixin(Base):
    """
    ``retrieve``: one object.

    ::

        → {"action": "retrieve", "request_id": 3, "pk": 7}
        ← {"action": "retrieve", "errors": [], "response_status": 200, "request_id": 3,
           "data": {"id": 7, "name": "Ann"}}
    """

    @action()
    def retrieve(self, **kwargs: Any) -> tuple[Any, int]:
        """Answer with the object."""
        instance = self.get_object(**kwargs)
        serializer = self.get_serializer(instance=instance, action_kwargs=kwargs)
        return serializer.data, 200


class UpdateModelMixin(Base):
    """
    ``update``: all the fields of an object.

    ::

        → {"action": "update", "request_id": 4, "pk": 7, "data": {"name": "Anna"}}
        ← {"action": "update", "errors": [], "response_status": 200, "request_id": 4,
           "data": {"id": 7, "name": "Anna"}}
    """

    @action()
    def update(self, data: Any, **kwargs: Any) -> tuple[Any, int]:
        """Update, and answer with the object."""
        instance = self.get_object(data=data, **kwargs)
        serializer = self.get_serializer(
            instance=instance, data=data, action_kwargs=kwargs
        )
        serializer.is_valid(raise_exception=True)
        self.perform_update(serializer, **kwargs)
        forget_prefetched(instance)
        return serializer.data, 200

    def perform_update(self, serializer: Any, **kwargs: Any) -> None:
        """Save the valid serializer."""
        serializer.save()


class PatchModelMixin(Base):
    """
    ``patch``: some of the fields of an object.

    ::

        → {"action": "patch", "request_id": 5, "pk": 7, "data": {"name": "Anne"}}
        ← {"action": "patch", "errors": [], "response_status": 200, "request_id": 5,
           "data": {"id": 7, "name": "Anne"}}
    """

    @action()
    def patch(self, data: Any, **kwargs: Any) -> tuple[Any, int]:
        """Update, and answer with the object."""
        instance = self.get_object(data=data, **kwargs)
        serializer = self.get_serializer(
            instance=instance, data=data, action_kwargs=kwargs, partial=True
        )
        serializer.is_valid(raise_exception=True)
        self.perform_patch(serializer, **kwargs)
        forget_prefetched(instance)
        return serializer.data, 200

    def perform_patch(self, serializer: Any, **kwargs: Any) -> None:
        """Save the valid serializer."""
        serializer.save()


class DeleteModelMixin(Base):
    """
    ``delete``: an object.

    ::

        → {"action": "delete", "request_id": 6, "pk": 7}
        ← {"action": "delete", "errors": [], "response_status": 204, "request_id": 6,
           "data": null}
    """

    @action()
    def delete(self, **kwargs: Any) -> tuple[None, int]:
        """Delete it."""
        instance = self.get_object(**kwargs)
        self.perform_delete(instance, **kwargs)
        return None, 204

    def perform_delete(self, instance: Any, **kwargs: Any) -> None:
        """Delete the object."""
        instance.delete()


def forget_prefetched(instance: Any) -> None:
    """Let the serializer see relations as they are after the update."""
    if getattr(instance, "_prefetched_objects_cache", None):
        instance._prefetched_objects_cache = {}
