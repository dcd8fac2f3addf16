// Requests to the server: the public API, authorised by the cookie of the session.

export interface Fault {
  field: string;
  message: string;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly faults: Fault[],
    readonly requestId: string,
  ) {
    super(detail);
  }
}

export interface Session {
  kind: "tenant" | "operator";
  tenant_id: string | null;
  account_sid: string | null;
  timezone: string;
  expires_at: string;
  version: string;
  public_url: string;
}

type Json = Record<string, unknown> | unknown[];

/** Called when the server says that the session has ended. */
let onSignedOut: () => void = () => {};
export function setOnSignedOut(handler: () => void): void {
  onSignedOut = handler;
}

export async function request<T>(method: string, path: string, body?: Json): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json" };
  // Another site cannot send this header: the server asks for it with every write.
  if (method !== "GET") headers["x-greenpin-console"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
  });
  if (response.ok) return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && path !== "/console/session") onSignedOut();
  throw new ApiError(
    response.status,
    problem.code ?? "",
    problem.detail ?? `The server answered ${response.status}.`,
    problem.errors ?? [],
    problem.request_id ?? "",
  );
}

export interface Page<T> {
  response: T[];
  next_cursor: string | null;
}

export async function get<T>(path: string): Promise<T> {
  return (await request<{ response: T }>("GET", path)).response;
}

export async function send<T>(method: string, path: string, body?: Json): Promise<T> {
  return (await request<{ response: T }>(method, path, body))?.response;
}

/** Returns a path with the parameters that have a value. */
export function withQuery(path: string, query: Record<string, string | null | undefined>): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

export interface Attempt {
  number: string;
  trunk: string | null;
  start_time: string;
  end_time: string;
  sip_status: number | null;
  cause: string;
}

export interface LegReport {
  codec: string | null;
  srtp: string | null;
  media: string;
  packets_received: number;
  packets_lost: number;
  packets_late: number;
  packets_sent: number;
  jitter_ms: number;
  mos: number | null;
}

export interface Call {
  call_sid: string;
  greenpin_id: string | null;
  virtual_number: string;
  from: string | null;
  to: string | null;
  start_time: string;
  answer_time: string | null;
  dial_time: string | null;
  bridge_time: string | null;
  end_time: string | null;
  call_type: string | null;
  dial_call_status: string | null;
  cause: string | null;
  why: string | null;
  attempts: Attempt[];
  dial_call_duration: number | null;
  on_call_duration: number | null;
  sip_cause: number | null;
  hangup_by: string | null;
  pin_attempts: number;
  recording_url: string | null;
  recording_duration: number | null;
  caller_verification: string | null;
  caller_media: LegReport | null;
  callee_media: LegReport | null;
  trunk: string;
  node: string;
}

export interface Allocation {
  greenpin_id: string;
  virtual_number: string;
  pin: string;
  from: string[];
  to: string[];
  status: "active" | "expired" | "deleted";
  locked: boolean;
  created_at: string;
  expires_at: string;
  updated_at: string;
  deleted_at?: string;
  max_pin_attempts: number;
  failed_pin_attempts: number;
  call_count: number;
  attempt_count: number;
  record: boolean;
  custom_field: string | null;
  dial_uri: string;
}

export interface Event {
  event_id: string;
  type: string;
  sequence: number;
  occurred_at: string;
  greenpin_id: string | null;
  custom_field: string | null;
  data: Record<string, unknown>;
}

export interface Delivery {
  endpoint_id: string;
  url: string | null;
  state: "pending" | "delivered" | "dead";
  attempt_count: number;
  next_attempt_at: string | null;
  created_at: string;
  finished_at: string | null;
  attempts: { attempted_at: string; latency_ms: number; status: number | null; error: string | null; answer: string }[];
}

export interface TraceLeg {
  leg: string;
  role: string;
  number: string | null;
  trunk: string | null;
  local: string | null;
  peer: string | null;
  transport: string | null;
}

export interface TraceEntry {
  at: string;
  offset_ms: number;
  kind: string;
  leg: string | null;
  direction: "in" | "out" | null;
  text: string;
  method?: string;
  status?: number | null;
  retransmission?: boolean;
  message?: string;
  source?: string;
  destination?: string;
}

export interface Trace {
  call_sid: string;
  start_time: string;
  truncated: boolean;
  legs: TraceLeg[];
  entries: TraceEntry[];
}

export interface Credential {
  account_sid: string;
  label: string | null;
  live: boolean;
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface LoggedRequest {
  at: string;
  method: string;
  route: string;
  status: number;
  code: string | null;
  latency_ms: number;
  request_id: string;
}

export interface Found {
  kind: string;
  calls: Call[];
  allocations: Allocation[];
  events: Event[];
  complete: boolean;
}

export interface PoolNumber {
  virtual_number: string;
  mode: string;
  pin_length: number;
  active_allocations: number;
  max_active: number;
  guess_probability: number;
  guess_odds_per_year: number;
}

export interface Webhook {
  id: string;
  url: string;
  types: string[] | null;
  format: string;
  paused: boolean;
  failing_since: string | null;
  disabled_at: string | null;
  secret?: string;
}

export interface AuditEntry {
  audit_id: string;
  occurred_at: string;
  actor: string;
  act: string;
  tenant_id: string | null;
  object: string | null;
  request_id: string | null;
}
