"""System checks, and what ``manage.py turbo_doctor`` looks at."""
