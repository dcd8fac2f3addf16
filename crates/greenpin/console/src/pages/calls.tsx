import { useQuery } from "@tanstack/react-query";
import { get, request, withQuery, type Call, type Page as Items, type PoolNumber } from "../api";
import { duration, words } from "../format";
import { Link, useQueryState } from "../router";
import { Badge, Curl, Empty, Loaded, Page, Pager, Select, Table, Text, Time, useTenantPath } from "../ui";

export function CallResult({ call }: { call: Call }) {
  if (!call.end_time) return <Badge tone="live">in progress</Badge>;
  const tone = call.call_type === "completed" ? "good" : call.cause === "wrong_pin" || call.call_type === "incomplete" ? "bad" : "plain";
  return <Badge tone={tone}>{words(call.cause ?? call.call_type ?? "ended")}</Badge>;
}

export function CallTable({ calls }: { calls: Call[] }) {
  return (
    <Table
      label="Calls"
      rows={calls}
      rowKey={(call) => call.call_sid}
      columns={[
        {
          name: "Started",
          cell: (call) => (
            <Link to={`/calls/${call.call_sid}`}>
              <Time at={call.start_time} />
            </Link>
          ),
        },
        { name: "Caller", cell: (call) => (call.from ? <Text>{call.from}</Text> : <span className="quiet">withheld</span>) },
        { name: "Virtual number", cell: (call) => call.virtual_number },
        { name: "Dialled", cell: (call) => <Text>{call.to}</Text> },
        { name: "Result", cell: (call) => <CallResult call={call} /> },
        { name: "Talked", numeric: true, cell: (call) => duration(call.on_call_duration) },
        { name: "PINs", numeric: true, cell: (call) => call.pin_attempts },
        { name: "Recording", numeric: true, cell: (call) => duration(call.recording_duration) },
        { name: "Trunk", cell: (call) => <Text>{call.trunk}</Text> },
      ]}
    />
  );
}

export function Calls() {
  const base = useTenantPath();
  const [read, change] = useQueryState();
  const names = ["status", "call_type", "virtual_number", "greenpin_id", "started_after", "started_before"];
  const query = { ...Object.fromEntries(names.map((name) => [name, read(name)])), cursor: read("cursor") };
  const path = withQuery(`${base}/calls`, query);
  const calls = useQuery({ queryKey: ["calls", path], queryFn: () => request<Items<Call>>("GET", path) });
  const numbers = useQuery({ queryKey: ["numbers"], queryFn: () => get<PoolNumber[]>(`${base}/numbers`), staleTime: 60_000 });
  const day = (name: string, label: string) => (
    <label className="field">
      <span>{label}</span>
      <input type="date" value={read(name).slice(0, 10)} onChange={(event) => change({ [name]: event.target.value ? `${event.target.value}T00:00:00Z` : "" })} />
    </label>
  );
  return (
    <Page title="Calls">
      <div className="filters">
        <Select label="Progress" value={read("status")} onChange={(status) => change({ status })} options={[["", "All"], ["active", "In progress"], ["ended", "Ended"]]} />
        <Select
          label="Type"
          value={read("call_type")}
          onChange={(call_type) => change({ call_type })}
          options={[["", "All"], ["completed", "Completed"], ["incomplete", "Incomplete"], ["call-attempt", "Call attempt"], ["client-hangup", "Client hangup"]]}
        />
        <Select
          label="Virtual number"
          value={read("virtual_number")}
          onChange={(virtual_number) => change({ virtual_number })}
          options={[["", "All"], ...(numbers.data ?? []).map((number): [string, string] => [number.virtual_number, number.virtual_number])]}
        />
        {day("started_after", "From (UTC)")}
        {day("started_before", "Before (UTC)")}
      </div>
      <Loaded query={calls}>
        {(page) => (
          <>
            {page.response.length > 0 ? (
              <CallTable calls={page.response} />
            ) : (
              <Empty title="No calls match." command="greenpin call +VIRTUAL_NUMBER --from +CALLER --pin NNNN">
                <p>A test call from this machine:</p>
              </Empty>
            )}
            <Pager next={page.next_cursor} cursor={read("cursor")} onChange={(cursor) => change({ cursor })} />
          </>
        )}
      </Loaded>
      <Curl method="GET" path={path} />
    </Page>
  );
}
