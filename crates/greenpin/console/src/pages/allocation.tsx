import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, request, send, type Allocation, type Call, type Event, type Page as Items } from "../api";
import { ActionButton, CopyButton, Curl, Empty, Facts, Field, Loaded, Page, Panel, RequestForm, Text, textOf, Time, useTenantPath } from "../ui";
import { AllocationStatus, numbersIn } from "./allocations";
import { Events } from "./call";
import { CallTable } from "./calls";

export function AllocationPage({ id }: { id: string }) {
  const base = useTenantPath();
  const path = `${base}/greenpin/${id}`;
  const allocation = useQuery({ queryKey: ["allocation", id], queryFn: () => get<Allocation>(path) });
  const calls = useQuery({ queryKey: ["allocation-calls", id], queryFn: () => request<Items<Call>>("GET", `${path}/calls`) });
  const events = useQuery({ queryKey: ["allocation-events", id], queryFn: () => get<Event[]>(`${path}/events`) });
  const [revealed, setRevealed] = useState<Allocation | null>(null);
  const reveal = async () => setRevealed(await send<Allocation>("POST", "/console/reveal", { kind: "allocation", id }));
  return (
    <Loaded query={allocation}>
      {(masked) => {
        const shown = revealed ? { ...masked, pin: revealed.pin, from: revealed.from, to: revealed.to, dial_uri: revealed.dial_uri } : masked;
        return (
          <Page
            title="Allocation"
            actions={
              <>
                {!revealed && <ActionButton label="Reveal numbers and PIN" run={reveal} />}
                {revealed && <CopyButton text={revealed.dial_uri} label="Copy dial URI" />}
              </>
            }
          >
            {revealed && (
              <p className="note" role="status">
                Numbers and PIN are shown. The audit log has an entry of it.
              </p>
            )}
            <Panel title="Facts">
              <Facts
                items={[
                  ["Allocation", <code>{shown.greenpin_id}</code>],
                  ["Status", <AllocationStatus allocation={shown} />],
                  ["Virtual number", shown.virtual_number],
                  ["PIN", <code>{shown.pin}</code>],
                  ["From", <Text>{shown.from.join(", ")}</Text>],
                  ["To", <Text>{shown.to.join(", ") || "anyone with the PIN"}</Text>],
                  ["Created", <Time at={shown.created_at} />],
                  ["Expires", <Time at={shown.expires_at} />],
                  ["Updated", <Time at={shown.updated_at} />],
                  ["Deleted", <Time at={shown.deleted_at} />],
                  ["Wrong PINs", `${shown.failed_pin_attempts} of ${shown.max_pin_attempts}`],
                  ["Calls connected", `${shown.call_count} of ${shown.attempt_count}`],
                  ["Recorded", shown.record ? "yes" : "no"],
                  ["Custom field", <Text>{shown.custom_field}</Text>],
                ]}
              />
            </Panel>
            {shown.status === "active" && <Acts allocation={shown} path={path} onChanged={() => setRevealed(null)} />}
            <Panel title="Calls">
              <Loaded query={calls}>{(page) => (page.response.length > 0 ? <CallTable calls={page.response} /> : <Empty title="No calls yet." command={`greenpin call ${shown.virtual_number} --from +CUSTOMER --pin NNNN`} />)}</Loaded>
            </Panel>
            <Events query={events} base={base} />
          </Page>
        );
      }}
    </Loaded>
  );
}

const DAY = 86_400;

function Acts({ allocation, path, onChanged }: { allocation: Allocation; path: string; onChanged: () => void }) {
  const client = useQueryClient();
  const [changing, setChanging] = useState(false);
  const done = async () => {
    onChanged();
    await client.invalidateQueries();
  };
  const run = (method: string, suffix: string, body?: Record<string, unknown>) => async () => {
    await send(method, path + suffix, body);
    await done();
  };
  const change = async (form: FormData) => {
    const body: Record<string, unknown> = {};
    const from = numbersIn(textOf(form, "from"));
    const to = numbersIn(textOf(form, "to"));
    const hours = textOf(form, "hours");
    const attempts = textOf(form, "max_pin_attempts");
    const custom = textOf(form, "custom_field");
    if (from.length > 0) body.from = from;
    if (to.length > 0) body.to = to;
    if (hours) body.duration = Math.round(Number(hours) * 3600);
    if (attempts && Number(attempts) !== allocation.max_pin_attempts) body.max_pin_attempts = Number(attempts);
    if (custom !== (allocation.custom_field ?? "")) body.custom_field = custom || null;
    if (Boolean(form.get("record")) !== allocation.record) body.record = Boolean(form.get("record"));
    await send("PUT", path, body);
    setChanging(false);
    await done();
  };
  return (
    <Panel title="Actions">
      <div className="acts">
        <ActionButton label="Extend by 24 h from now" run={run("PUT", "", { duration: DAY })} />
        <button type="button" aria-expanded={changing} onClick={() => setChanging(!changing)}>
          Change
        </button>
        <ActionButton label="Unlock" run={run("POST", "/unlock")} />
        <ActionButton label="Rotate PIN" question="The PIN stops working at once." run={run("POST", "/rotate-pin")} />
        <ActionButton label="Delete" danger question="New calls are refused from now on." run={run("DELETE", "")} />
      </div>
      {changing && (
        <RequestForm label="Save" onSubmit={change}>
          <p className="quiet">Empty fields stay as they are. A list of numbers replaces the whole list.</p>
          <div className="fields">
            <Field name="from" label="From" placeholder={allocation.from.join(", ")} />
            <Field name="to" label="To" placeholder={allocation.to.join(", ")} />
            <Field name="hours" label="Duration in hours from now" />
            <Field name="max_pin_attempts" label="PIN attempts" defaultValue={String(allocation.max_pin_attempts)} />
            <Field name="custom_field" label="Custom field" defaultValue={allocation.custom_field ?? ""} />
          </div>
          <label className="check">
            <input type="checkbox" name="record" defaultChecked={allocation.record} /> Record every call
          </label>
        </RequestForm>
      )}
      <details className="curl">
        <summary>curl of each action</summary>
        <Curls path={path} />
      </details>
    </Panel>
  );
}

function Curls({ path }: { path: string }) {
  return (
    <>
      <Curl method="PUT" path={path} body={{ duration: DAY }} />
      <Curl method="POST" path={`${path}/unlock`} />
      <Curl method="POST" path={`${path}/rotate-pin`} />
      <Curl method="DELETE" path={path} />
    </>
  );
}
