// Made by tools/javascript_types.py from the message types of the server; server/PROTOCOL.md says what they mean.

/** A prompt line, "rain, birds:0.4", or a list of its parts. */
export type Prompts = string | { text: string; weight?: number }[];

/** A JSON object, such as a scene or a session's state. */
export type Json = Record<string, unknown>;

/** What may be sent, by its type; all but these fields is refused. */
export interface Requests {
  "prompt": {
    prompts: Prompts;
    layer?: number;
    negative?: Prompts | null;
    morph?: number;
    now?: boolean;
    at?: number | null;
    quantise?: string | null;
  };
  "layer.add": {
    prompts: Prompts;
    layer?: number | null;
    negative?: Prompts;
    seed?: number | null;
    gain?: number;
    pan?: number;
    ramp?: number;
    at?: number | null;
    quantise?: string | null;
  };
  "layer.remove": {
    layer: number;
    ramp?: number;
    at?: number | null;
    quantise?: string | null;
  };
  "mix": {
    layer?: number | null;
    gain?: number | null;
    pan?: number | null;
    mute?: boolean | null;
    solo?: boolean | null;
    low?: number | null;
    high?: number | null;
    duck?: number | null;
    duck_by?: number | null;
    ramp?: number;
    at?: number | null;
    quantise?: string | null;
  };
  "configure": {
    layer?: number | null;
    steps?: number | null;
    guidance?: number | null;
    reference_ratio?: number | null;
    hops?: string | null;
    at?: number | null;
    quantise?: string | null;
  };
  "reseed": {
    layer?: number;
    seed: number;
    now?: boolean;
    at?: number | null;
    quantise?: string | null;
  };
  "reanchor": {
    layer?: number;
    at?: number | null;
    quantise?: string | null;
  };
  "freeze": {
    on?: boolean;
    at?: number | null;
    quantise?: string | null;
  };
  "rewind": {
    to: number;
    at?: number | null;
    quantise?: string | null;
  };
  "loop.capture": {
    seconds: number;
    at?: number | null;
    quantise?: string | null;
  };
  "scene.save": {
    scene: string;
    at?: number | null;
    quantise?: string | null;
  };
  "scene.recall": {
    scene: string | Json;
    morph?: number;
    at?: number | null;
    quantise?: string | null;
  };
  "tempo": {
    bpm?: number | null;
    beat?: number | null;
    beats_per_bar?: number | null;
    at?: number | null;
    quantise?: string | null;
  };
  "open": {
    scene: string | Json;
    pacing?: "live" | "pull" | "host";
    format?: "f32" | "s16" | "s24" | "opus";
    rate?: number | null;
    channels?: number | null;
    lead?: number | null;
    ahead?: number | null;
    name?: string | null;
    play?: boolean;
    layer?: number | null;
    token?: string | null;
    header?: number;
  };
  "join": {
    session: string;
    token?: string | null;
    key?: string | null;
    control?: boolean;
    format?: "f32" | "s16" | "s24" | "opus";
    rate?: number | null;
    channels?: number | null;
    layer?: number | null;
    from?: number | null;
    header?: number;
  };
  "ack": {
    sequence: number;
  };
  "grant": {
    samples: number;
  };
  "play": Record<string, never>;
  "pause": Record<string, never>;
  "ping": {
    client_clock: number;
  };
  "playhead": {
    position: number;
  };
  "state": Record<string, never>;
  "provenance": {
    number: number;
  };
  "close": Record<string, never>;
}

/** What the server says, by its type. */
export interface Messages {
  "applied": {
    command: number;
    start: number;
    unknown_words: string[];
    position: number;
  };
  "refused": {
    command: number;
    reason: string;
    position: number;
  };
  "view": {
    layer: number;
    view: number;
    start: number;
    ready: number;
    steps: number;
    made_in: number;
    position: number;
  };
  "fewer_steps": {
    layer: number;
    view: number;
    steps: number;
    wanted: number;
    position: number;
  };
  "bed.began": {
    layer: number;
    position: number;
  };
  "bed.ended": {
    layer: number;
    samples: number;
    position: number;
  };
  "reanchored": {
    layer: number;
    measure: string;
    value: number;
    low: number;
    high: number;
    position: number;
  };
  "loop.ready": {
    command: number;
    loop: string;
    seconds: number;
    position: number;
  };
  "scene.saved": {
    scene: string;
    content: Json;
    position: number;
  };
  "layer.ended": {
    layer: number;
    position: number;
  };
  "tempo": {
    bpm: number;
    beat: number;
    beats_per_bar: number;
    position: number;
  };
  "opened": {
    session: string;
    token: string | null;
    pacing: "live" | "pull" | "host";
    format: "f32" | "s16" | "s24" | "opus";
    rate: number;
    channels: number;
    layer: number | null;
    header: number;
    session_rate: number;
    position: number;
    playing: boolean;
    control: boolean;
    guarded: boolean;
    listen_token: string | null;
    resume_seconds: number;
    credit: number;
    resumed_from: number | null;
    state: Json;
  };
  "done": {
    command: number | null;
  };
  "error": {
    code: "bad_json" | "bad_message" | "unknown_type" | "unknown_field" | "missing_field" | "bad_value" | "token" | "listen_only" | "not_allowed" | "not_open" | "already_open" | "no_session" | "admission" | "quota" | "refused" | "failed";
    reason: string;
    field: string | null;
    retry_after: number | null;
  };
  "pong": {
    client_clock: number;
    server_clock_ns: number;
    position: number;
  };
  "state": {
    state: Json;
  };
  "provenance": {
    number: number;
    provenance: Json;
  };
  "dropped": {
    samples: number;
    from: number;
    to: number;
  };
  "closing": {
    reason: string;
  };
}
