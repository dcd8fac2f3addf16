import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, request, send, withQuery, type Event, type Page as Items, type Webhook } from "../api";
import { words } from "../format";
import { useQueryState } from "../router";
import { ActionButton, Badge, Command, Curl, Empty, Field, Loaded, Page, Pager, Panel, RequestForm, Table, Text, textOf, Time, useTenantPath } from "../ui";
import { Events } from "./call";

interface Settings {
  webhooks: Webhook[];
}

interface TestResult {
  status: number | null;
  error: string | null;
  latency_ms: number;
  answer: string;
}

/** Returns an endpoint as a request names it. */
function spec(webhook: Webhook): Record<string, unknown> {
  return { id: webhook.id, url: webhook.url, types: webhook.types, format: webhook.format, paused: webhook.paused };
}

export function Webhooks() {
  const base = useTenantPath();
  const settings = useQuery({ queryKey: ["settings"], queryFn: () => get<Settings>(`${base}/settings`) });
  const [secret, setSecret] = useState<string | null>(null);
  const [tested, setTested] = useState<TestResult | null>(null);
  const client = useQueryClient();
  const put = async (webhooks: unknown[]) => {
    const changed = await send<Settings>("PUT", `${base}/settings`, { webhooks });
    setSecret(changed.webhooks.find((webhook) => webhook.secret)?.secret ?? null);
    await client.invalidateQueries({ queryKey: ["settings"] });
  };
  return (
    <Page title="Webhooks">
      {secret && (
        <Panel title="Secret of the new endpoint">
          <p>It is shown once. Verify the signature of each delivery with it.</p>
          <Command text={secret} />
        </Panel>
      )}
      {tested && (
        <p className="note" role="status">
          {tested.status ? `The endpoint answered the test event with ${tested.status} in ${tested.latency_ms} ms.` : `The test event failed: ${words(tested.error ?? "no answer")}.`} <Text>{tested.answer}</Text>
        </p>
      )}
      <Loaded query={settings}>
        {({ webhooks }) => (
          <>
            <Panel title="Endpoints">
              {webhooks.length === 0 ? (
                <Empty title="No endpoints. Events wait in the log, and the stream has them." />
              ) : (
                <Table
                  label="Endpoints"
                  rows={webhooks}
                  rowKey={(webhook) => webhook.id}
                  columns={[
                    { name: "URL", cell: (webhook) => <Text>{webhook.url}</Text> },
                    { name: "Types", cell: (webhook) => webhook.types?.join(", ") ?? "all" },
                    { name: "State", cell: (webhook) => <EndpointState webhook={webhook} /> },
                    {
                      name: "Actions",
                      cell: (webhook) => (
                        <div className="acts">
                          <ActionButton label={webhook.paused ? "Resume" : "Pause"} run={() => put(webhooks.map((other) => (other.id === webhook.id ? { ...spec(other), paused: !webhook.paused } : spec(other))))} />
                          <ActionButton label="Send test" run={async () => setTested(await send<TestResult>("POST", "/console/webhook-test", { endpoint_id: webhook.id }))} />
                          {webhook.disabled_at && <ActionButton label="Enable" refresh={["settings"]} run={() => send("POST", `${base}/webhooks/${webhook.id}/enable`)} />}
                          <ActionButton
                            label="Rotate secret"
                            question="The old secret stays valid for a day."
                            refresh={["settings"]}
                            run={async () => setSecret((await send<{ secret: string }>("POST", `${base}/webhooks/${webhook.id}/rotate-secret`)).secret)}
                          />
                          <ActionButton label="Remove" danger question="Waiting deliveries are dropped." run={() => put(webhooks.filter((other) => other.id !== webhook.id).map(spec))} />
                        </div>
                      ),
                    },
                  ]}
                />
              )}
              <RequestForm label="Add endpoint" onSubmit={(form) => put([...webhooks.map(spec), { url: textOf(form, "url"), ...(textOf(form, "types") ? { types: textOf(form, "types").split(/[\s,]+/) } : {}) }])}>
                <div className="fields">
                  <Field name="url" label="URL" type="url" required placeholder="https://example.com/hooks" />
                  <Field name="types" label="Types" hint="Such as call.completed, recording.ready; empty for all" />
                </div>
              </RequestForm>
              <Curl method="PUT" path={`${base}/settings`} body={{ webhooks: [{ url: "https://example.com/hooks" }] }} />
            </Panel>
            <Replay base={base} />
            <DeadEvents base={base} />
          </>
        )}
      </Loaded>
    </Page>
  );
}

function EndpointState({ webhook }: { webhook: Webhook }) {
  if (webhook.disabled_at) return <Badge tone="bad">disabled</Badge>;
  if (webhook.paused) return <Badge tone="warn">paused</Badge>;
  if (webhook.failing_since)
    return (
      <>
        <Badge tone="bad">failing</Badge> since <Time at={webhook.failing_since} />
      </>
    );
  return <Badge tone="good">ok</Badge>;
}

interface Replayed {
  events: number;
  deliveries: number;
  next_cursor: string | null;
}

function Replay({ base }: { base: string }) {
  const [result, setResult] = useState<string | null>(null);
  const replay = async (form: FormData) => {
    const body: Record<string, unknown> = { after: new Date(textOf(form, "after")).toISOString(), before: new Date().toISOString() };
    if (form.get("dead")) body.state = "dead";
    let [events, deliveries] = [0, 0];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const part: Replayed = await send<Replayed>("POST", `${base}/events/redeliver`, cursor ? { ...body, cursor } : body);
      events += part.events;
      deliveries += part.deliveries;
      cursor = part.next_cursor;
    }
    setResult(`${events} events, ${deliveries} deliveries are sent again.`);
  };
  return (
    <Panel title="Replay">
      <RequestForm label="Send again" onSubmit={replay}>
        <div className="fields">
          <Field name="after" label="Events since (your time)" type="datetime-local" required />
        </div>
        <label className="check">
          <input type="checkbox" name="dead" defaultChecked /> Only those that were given up
        </label>
      </RequestForm>
      {result && (
        <p className="result" role="status">
          {result}
        </p>
      )}
      <Curl method="POST" path={`${base}/events/redeliver`} body={{ after: "2026-06-15T10:30:00Z", before: "2026-06-15T12:00:00Z", state: "dead" }} />
    </Panel>
  );
}

function DeadEvents({ base }: { base: string }) {
  const [read, change] = useQueryState();
  const path = withQuery(`${base}/events`, { state: "dead", after: read("cursor"), limit: "50" });
  const dead = useQuery({ queryKey: ["dead-events", path], queryFn: () => request<Items<Event>>("GET", path) });
  if (dead.data && dead.data.response.length === 0 && !read("cursor")) return null;
  return (
    <>
      <Events title="Events that were given up" query={{ data: dead.data?.response, error: dead.error }} base={base} />
      <Pager next={dead.data?.next_cursor ?? null} cursor={read("cursor")} onChange={(cursor) => change({ cursor })} />
    </>
  );
}
