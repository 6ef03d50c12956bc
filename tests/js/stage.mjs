// What the connection is given instead of a browser: sockets that a test plays the server
// of, a clock that it turns, and a page that only notes what is shown on it.

import { mock } from "node:test";
import { Connection, Source } from "../../turbo/static/turbo/turbo-channels.js";
import { FakeSocket as PlainSocket, FakeTarget, settle } from "./sockets.mjs";

export { settle };

export class FakeSocket extends PlainSocket {
  async subscribed(name, position, { stream = "id", recovered = true } = {}) {
    await this.say({ type: "subscribed", name, stream, position, recovered });
  }

  async message(position, { stream = "id", data = position } = {}) {
    await this.say({ type: "message", stream, position, data });
  }
}

export function makeStage(options = {}) {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  FakeSocket.all = [];
  const shown = [];
  const stage = {
    shown,
    events: [], // of the page, except those of its state
    states: [],
    settled: 0,
    isVisiting: false,
    isStale: false,
    window: new FakeTarget(),
    document: new FakeTarget(),
    sockets: FakeSocket.all,
    connection: null,
    get socket() {
      return FakeSocket.all.at(-1);
    },
    fire(name, detail) {
      if (name === "turbo-channels:state") stage.states.push(detail.state);
      else stage.events.push([name, detail]);
      return true;
    },
    source(name, since) {
      const source = new Source({
        name,
        since,
        notify: (...notice) => notices.push(notice),
      });
      const notices = (source.notices = []);
      source.kinds = () =>
        notices.map(([kind]) => kind).filter((kind) => kind !== "moved");
      return source;
    },
    attach(name, since) {
      const source = stage.source(name, since);
      stage.connection.attach(source);
      return source;
    },
    async connect(name, since, position) {
      const source = stage.attach(name, since);
      await stage.socket.accept();
      await stage.socket.subscribed(name, position);
      return source;
    },
    async pass(milliseconds) {
      mock.timers.tick(milliseconds);
      await settle();
    },
  };
  stage.connection = new Connection({
    WebSocket: FakeSocket,
    url: () => "ws://test/ws/",
    renderer: Promise.resolve((html) => shown.push(html)),
    settled: () => (stage.settled += 1),
    fire: (name, detail, isCancelable) => stage.fire(name, detail, isCancelable),
    isVisiting: () => stage.isVisiting,
    isStale: () => stage.isStale,
    random: () => 0.5,
    window: stage.window,
    document: stage.document,
    ...options,
  });
  return stage;
}

export const endStage = () => mock.timers.reset();
