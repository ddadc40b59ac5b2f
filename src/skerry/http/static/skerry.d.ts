/** Where a journal's history stands: "EPOCH:NUMBER". */
export type Position = string;

export interface Hello {
  type: "hello";
  /** Where the frames that follow begin. */
  position: Position;
  /** Where the serving process stood when it greeted. */
  head: Position;
  /** Whether everything after the asked position follows. */
  recovered: boolean;
  /** Whether the current values follow first. */
  snapshot: boolean;
  /** The name of this connection in connection events. */
  connection: string;
  /** The process that serves it. */
  process: string;
  /** Every how many seconds something is sent at least, where `?beat=1` asked for it. */
  beat?: number;
}

export interface State {
  phase: "connecting" | "catching-up" | "live" | "waiting" | "denied" | "closed";
  transport: "websocket" | "sse";
  /** Attempts in a row that were not greeted. */
  failures: number;
  /** When the next attempt is made (milliseconds since 1970), while waiting. */
  retryAt: number | null;
  position: Position | null;
  process: string | null;
}

export interface Options<Row, Event> {
  /** Resume after this position; a page that was rendered at a position hands it in and misses nothing. */
  since?: Position | null;
  /** Load the current values when there is nothing to resume. */
  snapshot?: boolean;
  /** Only events whose key starts with this. */
  prefix?: string;
  /** "auto" (default) falls back to server-sent events and back. */
  transport?: "auto" | "websocket" | "sse";
  onHello?(hello: Hello): void;
  onSnapshot?(rows: Row[], position: Position): void;
  onEvent?(event: Event): void;
  /** The missed events cannot be had and no snapshot was asked for: load the page's data anew. */
  onLost?(hello: Hello): void;
  onState?(state: State): void;
}

export interface Stream {
  readonly state: State;
  readonly position: Position | null;
  retry(): void;
  close(): void;
}

export function connect<Row = unknown, Event = unknown>(url: string, options?: Options<Row, Event>): Stream;
export function parsePosition(text: unknown): { epoch: string; offset: number } | null;
export function rootOf(module: string): string;
export function under(root: string, url: string | URL): string | URL;
export function pauseBefore(failures: number, random?: () => number): number;
