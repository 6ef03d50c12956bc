"""System checks, and the checks of ``manage.py turbo_doctor``."""
