import { useQuery } from "@tanstack/react-query";
import { get, request, withQuery, type Call, type Event, type Page as Items, type PoolNumber } from "../api";
import { duration, words } from "../format";
import { useLive } from "../live";
import { Link } from "../router";
import { Empty, Loaded, Page, Panel, Text, Time, useTenantPath } from "../ui";
import { CallTable } from "./calls";

const LATEST = 100;

export function Overview() {
  const base = useTenantPath();
  const active = useQuery({ queryKey: ["calls", "active"], queryFn: () => request<Items<Call>>("GET", withQuery(`${base}/calls`, { status: "active", limit: "50" })) });
  const latest = useQuery({ queryKey: ["calls", "latest"], queryFn: () => request<Items<Call>>("GET", withQuery(`${base}/calls`, { status: "ended", limit: String(LATEST) })) });
  const numbers = useQuery({ queryKey: ["numbers"], queryFn: () => get<PoolNumber[]>(`${base}/numbers`) });
  const dead = useQuery({ queryKey: ["dead-events"], queryFn: () => request<Items<Event>>("GET", withQuery(`${base}/events`, { state: "dead", limit: "50" })) });
  const more = (page: Items<unknown> | undefined) => (page ? `${page.response.length}${page.next_cursor ? "+" : ""}` : "…");
  const ended = latest.data?.response ?? [];
  const connected = ended.filter((call) => call.call_type === "completed");
  const talked = connected.reduce((sum, call) => sum + (call.on_call_duration ?? 0), 0);
  const keyed = ended.filter((call) => call.pin_attempts > 0);
  const admitted = keyed.filter((call) => call.call_type !== "call-attempt");
  const full = (numbers.data ?? []).filter((number) => number.active_allocations >= 0.9 * number.max_active && number.max_active > 1);
  return (
    <Page title="Overview">
      <div className="tiles">
        <Tile name="Calls in progress" value={more(active.data)} to="/calls?status=active" />
        <Tile name={`Connected of the last ${ended.length || LATEST}`} value={latest.data ? `${connected.length}` : "…"} to="/calls?status=ended" />
        <Tile name="Right PIN, of calls with a PIN" value={keyed.length > 0 ? `${Math.round((100 * admitted.length) / keyed.length)} %` : "–"} to="/calls?call_type=call-attempt" />
        <Tile name="Average talk" value={connected.length > 0 ? duration(talked / connected.length) : "–"} to="/calls?call_type=completed" />
        <Tile name="Numbers near capacity" value={numbers.data ? String(full.length) : "…"} to="/numbers" alert={full.length > 0} />
        <Tile name="Events not delivered" value={more(dead.data)} to="/webhooks" alert={(dead.data?.response.length ?? 0) > 0} />
      </div>
      {active.data && active.data.response.length > 0 && (
        <Panel title="In progress">
          <CallTable calls={active.data.response} />
        </Panel>
      )}
      <div className="columns">
        <Panel title="Results of the last calls">
          <Loaded query={latest}>{(page) => (page.response.length > 0 ? <Causes calls={page.response} /> : <Empty title="No calls yet." command="greenpin call +VIRTUAL_NUMBER --from +CALLER --pin NNNN" />)}</Loaded>
        </Panel>
        <Feed />
      </div>
      {ended.length > 0 && (
        <Panel title="Latest calls" actions={<Link to="/calls">All calls</Link>}>
          <CallTable calls={ended.slice(0, 10)} />
        </Panel>
      )}
    </Page>
  );
}

function Tile({ name, value, to, alert }: { name: string; value: string; to: string; alert?: boolean }) {
  return (
    <Link to={to} className={`tile ${alert ? "alert" : ""}`}>
      <strong>{value}</strong>
      <span>{name}</span>
    </Link>
  );
}

/** Number of calls of each cause, as bars. */
function Causes({ calls }: { calls: Call[] }) {
  const counts = new Map<string, number>();
  for (const call of calls) {
    const cause = call.cause ?? call.call_type ?? "unknown";
    counts.set(cause, (counts.get(cause) ?? 0) + 1);
  }
  const rows = [...counts].sort((one, other) => other[1] - one[1]);
  const most = rows[0]?.[1] ?? 1;
  return (
    <ul className="bars">
      {rows.map(([cause, count]) => (
        <li key={cause}>
          <span>{words(cause)}</span>
          <progress value={count} max={most} aria-label={words(cause)} className={cause === "completed" ? "good" : ""} />
          <span className="numeric">{count}</span>
        </li>
      ))}
    </ul>
  );
}

function Feed() {
  const { events } = useLive();
  const callOf = (event: Event) => (typeof event.data.call_sid === "string" ? event.data.call_sid : null);
  return (
    <Panel title="Live events">
      {events.length === 0 ? (
        <p className="quiet">Events appear here as they are written. Customers read them from the stream, the event log or webhooks.</p>
      ) : (
        <ol className="feed" tabIndex={0} aria-label="Live events">
          {events.map((event) => {
            const call = callOf(event);
            const to = call ? `/calls/${call}` : event.greenpin_id ? `/allocations/${event.greenpin_id}` : null;
            return (
              <li key={event.event_id}>
                <Time at={event.occurred_at} /> {to ? <Link to={to}>{event.type}</Link> : <span>{event.type}</span>} {event.custom_field && <Text>{event.custom_field}</Text>}
              </li>
            );
          })}
        </ol>
      )}
    </Panel>
  );
}
