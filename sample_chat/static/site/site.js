// Everything the pages need beside Turbo and the turbo client. No build, no globals.

import "./arrivals.js";
import "./badge.js";
import "./composer.js";
import "./denied.js";
import "./message.js";
import "./time.js";
