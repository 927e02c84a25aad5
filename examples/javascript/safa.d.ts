import type { Messages, Requests } from "./messages.js";

export type { Json, Messages, Prompts, Requests } from "./messages.js";

export const PROTOCOL: "safa.v1";

/** What the server refused, or why it cannot be reached. `code` and `field` are the server's, where it gave them. */
export class SafaError extends Error {
  constructor(reason: string, code?: string, field?: string | null);
  code: string;
  field: string | null;
}

/** One audio frame. start: at the frame's own rate; clock: the server's, ns; lost: samples missing right before it. */
export interface Frame {
  sequence: number;
  start: number;
  frames: number;
  channels: number;
  rate: number;
  clock: bigint;
  provenance: number;
  lost: number;
  /** frames * channels values, channels interleaved, full scale 1. */
  samples: Float32Array;
}

/** Read one binary message. Throws SafaError where it is no audio frame of version 1. */
export function parseFrame(buffer: ArrayBuffer): Frame;

export interface Connection {
  state: "connecting" | "open" | "resuming" | "closed";
  reason: string;
  resumed: boolean;
}

/** Seconds but for position: the server's next sample. */
export interface Clock {
  roundTrip: number;
  offset: number;
  position: number;
}

/** The message of one type, as it arrives. */
export type Message<Type extends keyof Messages = keyof Messages> = {
  [Each in Type]: { type: Each; id?: number } & Messages[Each];
}[Type];

/** What a request is answered with. */
export type Answer<Type extends keyof Requests> = Type extends "open" | "join"
  ? Message<"opened">
  : Type extends "ping"
    ? Message<"pong">
    : Type extends "state" | "provenance"
      ? Message<Type>
      : Message<"done">;

/** Details of the events that a client dispatches. "event" is every message that answers nothing. */
export type Details = {
  audio: Frame;
  connection: Connection;
  clock: Clock;
  event: Message;
} & { [Type in keyof Messages]: Message<Type> };

/** What of a WebSocket is used: the browser's, Node's, or that of a package. */
export type SocketClass = new (url: string, protocol: string) => object;

export class Safa extends EventTarget {
  /** url: of the server's WebSocket, "ws://127.0.0.1:8600/ws". WebSocket: where there is no global one. */
  constructor(url: string, options?: { WebSocket?: SocketClass });

  /** The session that is heard, null before `open` or `join`. */
  get session(): { id: string; token: string | null; key?: string; control: boolean } | null;

  /** Begin a session of one's own; sound arrives as f32 at 48000 Hz in two channels unless the fields say otherwise. */
  open(fields: Requests["open"]): Promise<Message<"opened">>;

  /** Listen to a session that exists. */
  join(fields: Omit<Requests["join"], "from">): Promise<Message<"opened">>;

  /** Send a command or a question; resolves with the answer, rejects with SafaError. */
  send<Type extends keyof Requests>(type: Type, fields?: Requests[Type]): Promise<Answer<Type>>;

  /** Send without waiting for an answer; lost where there is no connection. */
  post<Type extends keyof Requests>(type: Type, fields?: Requests[Type]): void;

  /** Disconnect. The server keeps the session for a while; send "close" first to end it. */
  close(): void;

  addEventListener<Type extends keyof Details>(
    type: Type,
    listener: (event: CustomEvent<Details[Type]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Type extends keyof Details>(
    type: Type,
    listener: (event: CustomEvent<Details[Type]>) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
