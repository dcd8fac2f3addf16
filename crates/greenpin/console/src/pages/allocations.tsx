import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, request, send, withQuery, type Allocation, type Page as Items, type PoolNumber } from "../api";
import { words } from "../format";
import { Link, navigate, useQueryState } from "../router";
import { Badge, Curl, Empty, Field, Loaded, Page, Pager, Panel, RequestForm, Select, StatusBadge, Table, Text, textOf, Time, useTenantPath } from "../ui";

export function AllocationStatus({ allocation }: { allocation: Allocation }) {
  return (
    <>
      <StatusBadge word={allocation.status} /> {allocation.locked && <Badge tone="bad">locked</Badge>}
    </>
  );
}

export function AllocationTable({ allocations }: { allocations: Allocation[] }) {
  return (
    <Table
      label="Allocations"
      rows={allocations}
      rowKey={(allocation) => allocation.greenpin_id}
      columns={[
        {
          name: "Created",
          cell: (allocation) => (
            <Link to={`/allocations/${allocation.greenpin_id}`}>
              <Time at={allocation.created_at} />
            </Link>
          ),
        },
        { name: "Virtual number", cell: (allocation) => allocation.virtual_number },
        { name: "From", cell: (allocation) => <Text>{allocation.from.join(", ")}</Text> },
        { name: "To", cell: (allocation) => <Text>{allocation.to.join(", ")}</Text> },
        { name: "Status", cell: (allocation) => <AllocationStatus allocation={allocation} /> },
        { name: "Expires", cell: (allocation) => <Time at={allocation.expires_at} /> },
        { name: "Calls", numeric: true, cell: (allocation) => `${allocation.call_count} of ${allocation.attempt_count}` },
        { name: "Custom field", cell: (allocation) => <Text>{allocation.custom_field}</Text> },
      ]}
    />
  );
}

/** Returns the numbers in a text, separated by spaces, commas or lines. */
export function numbersIn(text: string): string[] {
  return text.split(/[\s,;]+/).filter(Boolean);
}

export function Allocations() {
  const base = useTenantPath();
  const [read, change] = useQueryState();
  const names = ["status", "virtual_number", "custom_field"];
  const path = withQuery(`${base}/greenpin`, { ...Object.fromEntries(names.map((name) => [name, read(name)])), cursor: read("cursor") });
  const allocations = useQuery({ queryKey: ["allocations", path], queryFn: () => request<Items<Allocation>>("GET", path) });
  const numbers = useQuery({ queryKey: ["numbers"], queryFn: () => get<PoolNumber[]>(`${base}/numbers`), staleTime: 60_000 });
  const pool = (numbers.data ?? []).map((number): [string, string] => [number.virtual_number, number.virtual_number]);
  const panel = read("panel");
  const toggle = (name: string) => change({ panel: panel === name ? "" : name });
  return (
    <Page
      title="Allocations"
      actions={
        <>
          <button type="button" aria-expanded={panel === "resolve"} onClick={() => toggle("resolve")}>
            Resolve a call
          </button>
          <button type="button" className="primary" aria-expanded={panel === "create"} onClick={() => toggle("create")}>
            Create
          </button>
        </>
      }
    >
      {panel === "create" && <Create base={base} pool={pool} />}
      {panel === "resolve" && <Resolve base={base} pool={pool} />}
      <div className="filters">
        <Select label="Status" value={read("status")} onChange={(status) => change({ status })} options={[["", "All"], ["active", "Active"], ["expired", "Expired"], ["deleted", "Deleted"]]} />
        <Select label="Virtual number" value={read("virtual_number")} onChange={(virtual_number) => change({ virtual_number })} options={[["", "All"], ...pool]} />
        <label className="field">
          <span>Custom field</span>
          <input key={read("custom_field")} defaultValue={read("custom_field")} onBlur={(event) => event.target.value !== read("custom_field") && change({ custom_field: event.target.value })} onKeyDown={(event) => event.key === "Enter" && change({ custom_field: event.currentTarget.value })} />
        </label>
      </div>
      <Loaded query={allocations}>
        {(page) => (
          <>
            {page.response.length > 0 ? (
              <AllocationTable allocations={page.response} />
            ) : (
              <Empty title="No allocations match." command={"greenpin allocation create --tenant TENANT --caller-id-number +VIRTUAL_NUMBER --from +AGENT --to +CUSTOMER"}>
                <p>An allocation connects two sides through a virtual number for a limited time. Create one here, or with:</p>
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

function Create({ base, pool }: { base: string; pool: [string, string][] }) {
  const client = useQueryClient();
  const [number, setNumber] = useState("");
  const chosen = number || pool[0]?.[0] || "";
  const create = async (form: FormData) => {
    const body: Record<string, unknown> = { caller_id_number: chosen, from: numbersIn(textOf(form, "from")), to: numbersIn(textOf(form, "to")) };
    const hours = textOf(form, "hours");
    if (hours) body.duration = Math.round(Number(hours) * 3600);
    const attempts = textOf(form, "max_pin_attempts");
    if (attempts) body.max_pin_attempts = Number(attempts);
    if (form.get("record")) body.record = true;
    const custom = textOf(form, "custom_field");
    if (custom) body.custom_field = custom;
    const made = await send<Allocation>("POST", `${base}/greenpin`, body);
    await client.invalidateQueries();
    navigate(`/allocations/${made.greenpin_id}`);
  };
  return (
    <Panel title="Create an allocation">
      <RequestForm label="Create" onSubmit={create}>
        <div className="fields">
          <Select label="Virtual number" value={chosen} options={pool} onChange={setNumber} />
          <Field name="from" label="From (A-party)" required placeholder="+919900000001" hint="1 to 10 numbers with country code" />
          <Field name="to" label="To (B-party)" placeholder="+918800000001" hint="0 to 10 numbers" />
          <Field name="hours" label="Duration in hours" defaultValue="24" />
          <Field name="max_pin_attempts" label="PIN attempts" defaultValue="3" />
          <Field name="custom_field" label="Custom field" />
        </div>
        <label className="check">
          <input type="checkbox" name="record" /> Record every call
        </label>
      </RequestForm>
      <Curl method="POST" path={`${base}/greenpin`} body={{ caller_id_number: chosen, from: ["+AGENT"], to: ["+CUSTOMER"], duration: 86400 }} />
    </Panel>
  );
}

interface Resolution {
  outcome: string;
  reason: string;
  greenpin_id: string | null;
  dial: string[];
}

function Resolve({ base, pool }: { base: string; pool: [string, string][] }) {
  const [number, setNumber] = useState("");
  const [found, setFound] = useState<Resolution | null>(null);
  const chosen = number || pool[0]?.[0] || "";
  const resolve = async (form: FormData) => {
    const body: Record<string, unknown> = { virtual_number: chosen, caller: textOf(form, "caller") };
    const digits = textOf(form, "digits");
    if (digits) body.digits = digits;
    setFound(await send<Resolution>("POST", `${base}/greenpin/resolve`, body));
  };
  return (
    <Panel title="What would a call meet?">
      <p className="quiet">Nothing is counted and no one is called.</p>
      <RequestForm label="Resolve" onSubmit={resolve}>
        <div className="fields">
          <Select label="Virtual number" value={chosen} options={pool} onChange={setNumber} />
          <Field name="caller" label="Caller" required placeholder="+918800000001" />
          <Field name="digits" label="PIN" type="password" hint="Optional" />
        </div>
      </RequestForm>
      {found && (
        <p className="result" role="status">
          <Badge tone={found.outcome === "connect" ? "good" : "warn"}>{words(found.outcome)}</Badge> {words(found.reason)}
          {found.dial.length > 0 && <> · dials {found.dial.join(", ")}</>}
          {found.greenpin_id && (
            <>
              {" · "}
              <Link to={`/allocations/${found.greenpin_id}`}>allocation</Link>
            </>
          )}
        </p>
      )}
      <Curl method="POST" path={`${base}/greenpin/resolve`} body={{ virtual_number: chosen, caller: "+CALLER" }} />
    </Panel>
  );
}
