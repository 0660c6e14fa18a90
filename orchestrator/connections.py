"""Makes the services and stores that a run's target names: a plain table, one entry each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.ledger import Target
    from orchestrator.services.base import Service
    from orchestrator.services.hf_jobs import HfJobsService
    from orchestrator.stores.base import ObjectStore
    from orchestrator.stores.hub import HubStore
    from orchestrator.stores.hub_collections import HubCollections
    from orchestrator.stores.hub_commits import HubCommits
    from orchestrator.stores.hub_files import HubFiles
    from orchestrator.stores.hub_objects import HubObjects
    from orchestrator.stores.hub_requests import Kind
    from orchestrator.stores.hub_trees import HubTrees


class Connections:
    """Clients for the places that the settings name, each made once, when first used."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._settings = settings
        self._clock = clock
        self._services: dict[tuple[str, str, str], Service] = {}
        self._stores: dict[str, ObjectStore] = {}

    def service(self, target: Target) -> Service:
        """The service that executes for this target."""
        key = (target.service, target.project, target.location)
        if key not in self._services:
            self._services[key] = self._new_service(target)
        return self._services[key]

    def _new_service(self, target: Target) -> Service:
        if target.service == "hf-jobs":
            return self.jobs(target.project)
        from orchestrator.services.vertex import VertexService

        return VertexService(
            target.project, target.location, self._settings.vertex_endpoint, self._clock
        )

    def jobs(self, namespace: str) -> HfJobsService:
        """Hugging Face Jobs of one namespace, with the secrets of the environment."""
        from orchestrator.services.hf_jobs import HfJobsService

        settings = self._settings
        secrets = {**settings.secrets, "HF_TOKEN": settings.hub_token or ""}
        return HfJobsService(
            settings.hub_endpoint, settings.hub_token, namespace, secrets, clock=self._clock
        )

    def store(self, target: Target) -> ObjectStore:
        """The store with the target's bucket."""
        if target.service == "hf-jobs":
            return self.hub_objects
        from orchestrator.stores.gcs import GcsStore

        if target.project not in self._stores:
            self._stores[target.project] = GcsStore(target.project, self._settings.storage_endpoint)
        return self._stores[target.project]

    def store_of(self, target: Target, uri: str) -> ObjectStore:
        """The store in which an object lies, wherever the run's attempts execute."""
        if uri.startswith("hf://"):
            return self.hub_objects
        if uri.startswith("file://"):
            from orchestrator.stores.local import LocalFiles

            return LocalFiles()
        return self.bucket if target.service == "hf-jobs" else self.store(target)

    @functools.cached_property
    def hub(self) -> HubStore:
        """The Hub, with the token of the settings."""
        from orchestrator.stores.hub import HubStore

        return HubStore(self._settings.hub_endpoint, self._settings.hub_token, clock=self._clock)

    @functools.cached_property
    def hub_trees(self) -> HubTrees:
        """Model repos on the Hub as whole revisions: compared, and brought back."""
        return self._trees("model")

    @functools.cached_property
    def hub_datasets(self) -> HubTrees:
        """The same for dataset repos."""
        return self._trees("dataset")

    def _trees(self, kind: Kind) -> HubTrees:
        from orchestrator.stores.hub_trees import HubTrees

        settings = self._settings
        return HubTrees(settings.hub_endpoint, settings.hub_token, clock=self._clock, kind=kind)

    @functools.cached_property
    def hub_collections(self) -> HubCollections:
        """Collections on the Hub, with the token of the settings."""
        from orchestrator.stores.hub_collections import HubCollections

        settings = self._settings
        return HubCollections(settings.hub_endpoint, settings.hub_token, clock=self._clock)

    @functools.cached_property
    def hub_objects(self) -> HubObjects:
        """Files of repos on the Hub as a store of objects, for reading."""
        from orchestrator.stores.hub_objects import HubObjects

        return HubObjects(self._settings.hub_endpoint, self._settings.hub_token, clock=self._clock)

    @functools.cached_property
    def hub_commits(self) -> HubCommits:
        """Private repos that files are committed to."""
        from orchestrator.stores.hub_commits import HubCommits

        return HubCommits(self._settings.hub_endpoint, self._settings.hub_token, clock=self._clock)

    @functools.cached_property
    def bucket(self) -> ObjectStore:
        """Cloud Storage, for reading data in whatever bucket it is."""
        from orchestrator.stores.gcs import GcsStore

        return GcsStore(self._settings.project, self._settings.storage_endpoint)

    @functools.cached_property
    def hub_files(self) -> HubFiles:
        """The files of models and datasets on the Hub, with the token of the settings."""
        from orchestrator.stores.hub_files import HubFiles

        return HubFiles(self._settings.hub_endpoint, self._settings.hub_token, clock=self._clock)

    @functools.cached_property
    def hub_files_once(self) -> HubFiles:
        """The same for what can be done without: asked once, and not waited for."""
        from orchestrator.stores.hub_files import ONCE, HubFiles

        return HubFiles(
            self._settings.hub_endpoint, self._settings.hub_token, patience=ONCE, clock=self._clock
        )
