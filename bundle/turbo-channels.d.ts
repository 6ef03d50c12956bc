// The types of the client of pages: what its JSDoc says, and what it gives every page.

import type { State } from "../types/connection.js";
import type { Handle } from "../types/turbo-channels.js";
import type { Whispered } from "../types/whispers.js";

export * from "../types/turbo-channels.js";

interface StreamDetail {
    name: string;
    position: string;
    reason?: string;
}

interface StreamEvents {
    "turbo-stream:connected": CustomEvent<StreamDetail>;
    "turbo-stream:disconnected": CustomEvent<StreamDetail>;
    "turbo-stream:gap": CustomEvent<StreamDetail>;
    "turbo-stream:denied": CustomEvent<StreamDetail>;
    "turbo-stream:whisper": CustomEvent<Whispered>;
}

interface PageEvents extends StreamEvents {
    "turbo-channels:state": CustomEvent<{ state: State; previous: State }>;
    "turbo-channels:healed": CustomEvent;
    "turbo-channels:gave-up": CustomEvent<{ reason: string }>;
    "turbo-channels:input-lost": CustomEvent<{
        name: string;
        value: unknown;
        field: Element;
    }>;
}

declare global {
    interface Window {
        TurboChannels?: Handle;
    }
    interface DocumentEventMap extends PageEvents {}
    interface HTMLElementEventMap extends StreamEvents {}
}
