import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, get, send, type Call, type Delivery, type Event, type LegReport, type Trace } from "../api";
import { duration, offset, words } from "../format";
import { Ladder } from "../ladder";
import { Recording } from "../recording";
import { Link } from "../router";
import { ActionButton, Badge, CopyButton, Curl, Empty, Facts, Loaded, Page, Panel, StatusBadge, Table, Text, Time, useCurl, useTenantPath } from "../ui";
import { CallResult } from "./calls";

/** Milliseconds after the end of a call in which its trace is expected. */
const TRACE_DELAY = 15_000;

function endedWithin(call: Call | undefined, milliseconds: number): boolean {
  return call?.end_time !== undefined && call.end_time !== null && Date.now() - Date.parse(call.end_time) < milliseconds;
}

export function CallPage({ id }: { id: string }) {
  const base = useTenantPath();
  const path = `${base}/calls/${id}`;
  const call = useQuery({ queryKey: ["call", id], queryFn: () => get<Call>(path) });
  const trace = useQuery({
    queryKey: ["trace", id],
    queryFn: () => get<Trace>(`${path}/trace`).catch((error) => (error instanceof ApiError && error.status === 404 ? null : Promise.reject(error))),
    enabled: Boolean(call.data?.end_time),
    // The trace is written a moment after the end of its call.
    refetchInterval: (query) => (query.state.data === null && endedWithin(call.data, TRACE_DELAY) ? 1000 : false),
  });
  const events = useQuery({ queryKey: ["call-events", id], queryFn: () => get<Event[]>(`${path}/events`), enabled: call.data !== undefined });
  const [revealed, setRevealed] = useState<Call | null>(null);
  const curl = useCurl();
  const reveal = async () => setRevealed(await send<Call>("POST", "/console/reveal", { kind: "call", id }));
  return (
    <Loaded query={call}>
      {(masked) => {
        const call = revealed ?? masked;
        return (
          <Page
            title="Call"
            actions={
              <>
                <CopyButton text={curl("GET", path)} label="Copy as curl" />
                {trace.data && (
                  <a className="button" href={`${path}/trace.pcap`} download={`${id}.pcap`}>
                    pcap
                  </a>
                )}
                {!revealed && <ActionButton label="Reveal numbers" run={reveal} />}
              </>
            }
          >
            <p className="why">
              <CallResult call={call} /> <span>{call.why ?? "The call is in progress."}</span>
            </p>
            {revealed && (
              <p className="note" role="status">
                Numbers are shown. The audit log has an entry of it.
              </p>
            )}
            <CallFacts call={call} />
            {call.recording_url && <Recording path={`${path}/recording`} />}
            <Timeline call={call} trace={trace.data ?? null} events={events.data ?? []} />
            <Panel title="SIP ladder">
              {trace.data ? (
                <Ladder trace={trace.data} />
              ) : (
                <p className="quiet">{call.end_time ? endedWithin(call, TRACE_DELAY) ? "The trace appears in a moment." : "This call has no trace: it is older than the retention of traces, or tracing is off." : "The trace appears when the call has ended."}</p>
              )}
            </Panel>
            <Quality call={call} />
            <Events query={events} base={base} />
          </Page>
        );
      }}
    </Loaded>
  );
}

function CallFacts({ call }: { call: Call }) {
  return (
    <Panel title="Facts">
      <Facts
        items={[
          ["Call", <code>{call.call_sid}</code>],
          ["Allocation", call.greenpin_id ? <Link to={`/allocations/${call.greenpin_id}`}><code>{call.greenpin_id}</code></Link> : "–"],
          ["Caller", call.from ? <Text>{call.from}</Text> : "withheld or unknown"],
          ["Virtual number", call.virtual_number],
          ["Dialled", <Text>{call.to}</Text>],
          ["Started", <Time at={call.start_time} />],
          ["Connected", <Time at={call.bridge_time} />],
          ["Ended", <Time at={call.end_time} />],
          ["Talked", duration(call.on_call_duration)],
          ["Ended by", call.hangup_by ?? "–"],
          ["PINs entered", call.pin_attempts],
          ["SIP status", call.sip_cause ?? "–"],
          ["Trunk", <Text>{call.trunk}</Text>],
          ["Node", <Text>{call.node}</Text>],
        ]}
      />
      {call.attempts.length > 0 && (
        <Table
          label="Attempts"
          rows={call.attempts}
          rowKey={(attempt) => attempt.start_time + attempt.number + attempt.trunk}
          columns={[
            { name: "Dialled number", cell: (attempt) => <Text>{attempt.number}</Text> },
            { name: "Over trunk", cell: (attempt) => <Text>{attempt.trunk}</Text> },
            { name: "From", cell: (attempt) => <Time at={attempt.start_time} /> },
            { name: "Until", cell: (attempt) => <Time at={attempt.end_time} /> },
            { name: "SIP", numeric: true, cell: (attempt) => attempt.sip_status ?? "–" },
            { name: "Cause", cell: (attempt) => words(attempt.cause) },
          ]}
        />
      )}
    </Panel>
  );
}

interface Step {
  at: string;
  offset: number | null;
  kind: string;
  leg: string | null;
  text: string;
}

/** Merges what is known of a call into one list: the trace, or else the record and the events. */
function steps(call: Call, trace: Trace | null, events: Event[]): Step[] {
  if (trace) return trace.entries.map((entry) => ({ at: entry.at, offset: entry.offset_ms, kind: entry.kind, leg: entry.leg, text: entry.text }));
  const start = Date.parse(call.start_time);
  const step = (at: string | null, kind: string, text: string): Step[] => (at ? [{ at, offset: Date.parse(at) - start, kind, leg: null, text }] : []);
  const list = [
    ...step(call.start_time, "call", "The call arrived"),
    ...step(call.answer_time, "call", "greenpin answered"),
    ...call.attempts.flatMap((attempt) => [
      ...step(attempt.start_time, "dial", `Dialled ${attempt.number} over ${attempt.trunk ?? "no trunk"}`),
      ...step(attempt.end_time, "dial end", `Leg to ${attempt.number} ended: ${words(attempt.cause)}`),
    ]),
    ...step(call.bridge_time, "call", "Both parties connected"),
    ...events.flatMap((event) => step(event.occurred_at, "event", event.type)),
    ...step(call.end_time, "call", "The call ended"),
  ];
  return list.sort((one, other) => (one.offset ?? 0) - (other.offset ?? 0));
}

function Timeline({ call, trace, events }: { call: Call; trace: Trace | null; events: Event[] }) {
  const [kind, setKind] = useState("");
  const all = steps(call, trace, events);
  const kinds = [...new Set(all.map((step) => step.kind))];
  const shown = all.filter((step) => !kind || step.kind === kind);
  return (
    <Panel
      title="Time line"
      actions={
        <div className="chips" role="group" aria-label="Kinds">
          {["", ...kinds].map((name) => (
            <button key={name} type="button" className="chip" aria-pressed={kind === name} onClick={() => setKind(name)}>
              {name ? words(name) : "all"}
            </button>
          ))}
        </div>
      }
    >
      <ol className="timeline" aria-label="Time line" tabIndex={0}>
        {shown.map((step, index) => (
          <li key={index}>
            <time dateTime={step.at} title={step.at}>
              {step.offset === null ? "" : offset(step.offset, trace ? 3 : 0)}
            </time>
            <span className={`kind ${step.kind.replace(" ", "-")}`}>{words(step.kind)}</span>
            <span className="quiet">{step.leg ?? ""}</span>
            <bdi>{step.text}</bdi>
          </li>
        ))}
      </ol>
    </Panel>
  );
}

function Quality({ call }: { call: Call }) {
  const legs: [string, LegReport][] = [];
  if (call.caller_media) legs.push(["caller", call.caller_media]);
  if (call.callee_media) legs.push(["callee", call.callee_media]);
  if (legs.length === 0) return null;
  const loss = (report: LegReport) => {
    const sent = report.packets_received + report.packets_lost;
    return sent === 0 ? "–" : `${report.packets_lost} (${((100 * report.packets_lost) / sent).toFixed(1)} %)`;
  };
  return (
    <Panel title="Quality">
      <Table
        label="Quality by leg"
        rows={legs}
        rowKey={([name]) => name}
        columns={[
          { name: "Received from", cell: ([name]) => name },
          { name: "Codec", cell: ([, report]) => report.codec ?? "–" },
          { name: "Media", cell: ([, report]) => (report.srtp ? `${report.media}, SRTP` : report.media) },
          { name: "Received", numeric: true, cell: ([, report]) => report.packets_received },
          { name: "Sent", numeric: true, cell: ([, report]) => report.packets_sent },
          { name: "Lost", numeric: true, cell: ([, report]) => loss(report) },
          { name: "Jitter", numeric: true, cell: ([, report]) => `${report.jitter_ms.toFixed(1)} ms` },
          { name: "MOS", numeric: true, cell: ([, report]) => (report.mos === null ? "–" : <Badge tone={report.mos >= 4 ? "good" : report.mos >= 3.5 ? "warn" : "bad"}>{report.mos.toFixed(1)}</Badge>) },
        ]}
      />
    </Panel>
  );
}

export function Events({ query, base, title = "Events and webhooks" }: { query: { data: Event[] | undefined; error: unknown }; base: string; title?: string }) {
  return (
    <Panel title={title}>
      <Loaded query={query}>
        {(events) => (events.length === 0 ? <Empty title="No events." /> : <ul className="events">{events.map((event) => <EventItem key={event.event_id} event={event} base={base} />)}</ul>)}
      </Loaded>
    </Panel>
  );
}

function EventItem({ event, base }: { event: Event; base: string }) {
  const [open, setOpen] = useState(false);
  const path = `${base}/events/${event.event_id}`;
  const deliveries = useQuery({ queryKey: ["deliveries", event.event_id], queryFn: () => get<Delivery[]>(`${path}/deliveries`), enabled: open });
  return (
    <li>
      <details onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
        <summary>
          <strong>{event.type}</strong> <Time at={event.occurred_at} />
        </summary>
        {open && (
          <div className="event-body">
            <Loaded query={deliveries}>
              {(deliveries) => (deliveries.length === 0 ? <p className="quiet">No endpoint asks for this type.</p> : deliveries.map((delivery) => <DeliveryItem key={delivery.endpoint_id} delivery={delivery} />))}
            </Loaded>
            <ActionButton label="Redeliver" refresh={["deliveries", event.event_id]} run={() => send("POST", `${path}/redeliver`)} />
            <Curl method="POST" path={`${path}/redeliver`} />
            <pre tabIndex={0}>{JSON.stringify(event, null, 2)}</pre>
          </div>
        )}
      </details>
    </li>
  );
}

function DeliveryItem({ delivery }: { delivery: Delivery }) {
  return (
    <div className="delivery">
      <p>
        <StatusBadge word={delivery.state} /> <Text>{delivery.url ?? delivery.endpoint_id}</Text>
        {delivery.next_attempt_at && (
          <span className="quiet">
            {" "}
            next attempt <Time at={delivery.next_attempt_at} />
          </span>
        )}
      </p>
      {delivery.attempts.length > 0 && (
        <Table
          label="Attempts"
          rows={delivery.attempts}
          rowKey={(attempt) => attempt.attempted_at + attempt.latency_ms}
          columns={[
            { name: "Attempt", cell: (attempt) => <Time at={attempt.attempted_at} /> },
            { name: "Status", cell: (attempt) => attempt.status ?? words(attempt.error ?? "–") },
            { name: "Latency", numeric: true, cell: (attempt) => `${attempt.latency_ms} ms` },
            { name: "Answer", cell: (attempt) => <Text>{attempt.answer}</Text> },
          ]}
        />
      )}
    </div>
  );
}
