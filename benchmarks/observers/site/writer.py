"""
Read numbers from the input, save that many times, and print the number again.

The first line of output says that the tables and the object have been created.
"""

from __future__ import annotations

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "observed_settings")
django.setup()

import people.consumers  # noqa: E402, F401  (one of the libraries needs to be told)
from django.core.management import call_command  # noqa: E402
from people.models import Person  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
person, _ = Person.objects.get_or_create(
    pk=1, defaults={"name": "Ann", "biography": "lorem ipsum dolor " * 15}
)
saved = 0
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        saved += 1
        person.name = f"Ann {saved}"
        person.save()
    print(line.strip(), flush=True)
