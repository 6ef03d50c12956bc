"""What ``manage.py turbo_doctor`` looks at: a set-up, and whether it works."""

from __future__ import annotations

from turbo.doctor.finding import Finding
from turbo.doctor.installation import examine_installation
from turbo.doctor.probes import probe_all

__all__ = ["Finding", "examine_installation", "probe_all"]
