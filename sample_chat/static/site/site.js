// All scripts of the pages besides Turbo and its client. No build step, no globals.

import "./arrivals.js";
import "./composer.js";
import "./denied.js";
import "./departures.js";
import "./dismiss.js";
import "./focus.js";
import "./log.js";
import "./message.js";
import "./time.js";
import "./typing.js";
