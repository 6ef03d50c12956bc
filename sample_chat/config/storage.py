"""Where the static files are in production."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class ModuleStaticFilesStorage(ManifestStaticFilesStorage):
    """Hash the names inside JavaScript's import statements, too."""

    support_js_module_import_aggregation = True
