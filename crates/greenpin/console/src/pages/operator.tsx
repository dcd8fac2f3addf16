import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, get, request, send, withQuery, type AuditEntry, type Credential, type Page as Items } from "../api";
import { Link, navigate, useQueryState } from "../router";
import { ActionButton, Badge, Command, Curl, Empty, Facts, Field, Loaded, Page, Pager, Panel, RequestForm, StatusBadge, Table, Text, textOf, Time } from "../ui";
import { AuditTable } from "./audit";
import { credentialColumns } from "./credentials";

const ADMIN = "/v1/admin";

interface Tenant {
  tenant_id: string;
  status: string;
  timezone: string;
  numbers: number;
  credentials: number;
  created_at: string;
  active_allocations?: number;
}

interface Secret {
  account_sid: string;
  token: string;
}

function NewSecret({ secret }: { secret: Secret | null }) {
  if (!secret) return null;
  return (
    <Panel title="New credential">
      <p>The token is shown once.</p>
      <Command text={`${secret.account_sid}:${secret.token}`} />
    </Panel>
  );
}

export function OperatorTenants() {
  const [read, change] = useQueryState();
  const client = useQueryClient();
  const [secret, setSecret] = useState<Secret | null>(null);
  const path = withQuery(`${ADMIN}/tenants`, { cursor: read("cursor") });
  const tenants = useQuery({ queryKey: ["tenants", path], queryFn: () => request<Items<Tenant>>("GET", path) });
  const create = async (form: FormData) => {
    setSecret(await send<Secret>("POST", `${ADMIN}/tenants`, { tenant_id: textOf(form, "tenant_id") }));
    await client.invalidateQueries({ queryKey: ["tenants"] });
  };
  return (
    <Page title="Tenants">
      <NewSecret secret={secret} />
      <Loaded query={tenants}>
        {(page) => (
          <>
            {page.response.length > 0 ? (
              <Table
                label="Tenants"
                rows={page.response}
                rowKey={(tenant) => tenant.tenant_id}
                columns={[
                  { name: "Tenant", cell: (tenant) => <Link to={`/operator/tenants/${tenant.tenant_id}`}>{tenant.tenant_id}</Link> },
                  { name: "Status", cell: (tenant) => <StatusBadge word={tenant.status} /> },
                  { name: "Numbers", numeric: true, cell: (tenant) => tenant.numbers },
                  { name: "Credentials", numeric: true, cell: (tenant) => tenant.credentials },
                  { name: "Time zone", cell: (tenant) => tenant.timezone },
                  { name: "Created (UTC)", cell: (tenant) => <Time at={tenant.created_at} /> },
                ]}
              />
            ) : (
              <Empty title="No tenants yet." command="greenpin tenant create acme" />
            )}
            <Pager next={page.next_cursor} cursor={read("cursor")} onChange={(cursor) => change({ cursor })} />
          </>
        )}
      </Loaded>
      <Panel title="Create a tenant">
        <RequestForm label="Create" onSubmit={create}>
          <div className="fields">
            <Field name="tenant_id" label="Tenant id" required hint="Lower-case letters, digits, - and _" />
          </div>
        </RequestForm>
        <Curl method="POST" path={`${ADMIN}/tenants`} body={{ tenant_id: "acme" }} />
      </Panel>
    </Page>
  );
}

export function OperatorTenant({ id }: { id: string }) {
  const client = useQueryClient();
  const [secret, setSecret] = useState<Secret | null>(null);
  const path = `${ADMIN}/tenants/${id}`;
  const tenant = useQuery({ queryKey: ["tenant", id], queryFn: () => get<Tenant>(path) });
  const credentials = useQuery({ queryKey: ["credentials", id], queryFn: () => get<Credential[]>(`${path}/credentials`) });
  const create = async (form: FormData) => {
    const label = textOf(form, "label");
    setSecret(await send<Secret>("POST", `${path}/credentials`, label ? { label } : {}));
    await client.invalidateQueries({ queryKey: ["credentials", id] });
  };
  return (
    <Loaded query={tenant}>
      {(tenant) => (
        <Page
          title={tenant.tenant_id}
          actions={
            tenant.status === "suspended" ? (
              <ActionButton label="Resume" refresh={["tenant", id]} run={() => send("POST", `${path}/resume`)} />
            ) : (
              <ActionButton label="Suspend" danger question="Its API and its new calls are refused." refresh={["tenant", id]} run={() => send("POST", `${path}/suspend`)} />
            )
          }
        >
          <NewSecret secret={secret} />
          <Panel title="Facts">
            <Facts
              items={[
                ["Status", <StatusBadge word={tenant.status} />],
                ["Numbers", tenant.numbers],
                ["Active allocations", tenant.active_allocations ?? "–"],
                ["Time zone", tenant.timezone],
                ["Created (UTC)", <Time at={tenant.created_at} />],
              ]}
            />
          </Panel>
          <Panel title="Credentials">
            <Loaded query={credentials}>
              {(credentials) => (
                <Table
                  label="Credentials"
                  rows={credentials}
                  rowKey={(credential) => credential.account_sid}
                  columns={[
                    ...credentialColumns("Last used (UTC)"),
                    {
                      name: "Actions",
                      cell: (credential) =>
                        credential.live && (
                          <div className="acts">
                            <ActionButton label="Rotate" refresh={["credentials", id]} run={async () => setSecret(await send<Secret>("POST", `${path}/credentials/${credential.account_sid}/rotate`))} />
                            <ActionButton label="Revoke" danger question="It stops working at once." refresh={["credentials", id]} run={() => send("DELETE", `${path}/credentials/${credential.account_sid}`)} />
                          </div>
                        ),
                    },
                  ]}
                />
              )}
            </Loaded>
            <RequestForm label="Create a credential" onSubmit={create}>
              <div className="fields">
                <Field name="label" label="Label" hint="Optional, for people" />
              </div>
            </RequestForm>
          </Panel>
        </Page>
      )}
    </Loaded>
  );
}

interface PoolNumber {
  virtual_number: string;
  tenant_id: string;
  mode: string;
  pin_length: number;
  max_active: number;
  active: number;
  quarantined: boolean;
}

export function OperatorNumbers() {
  const [read, change] = useQueryState();
  const client = useQueryClient();
  const path = withQuery(`${ADMIN}/numbers`, { cursor: read("cursor") });
  const numbers = useQuery({ queryKey: ["pool", path], queryFn: () => request<Items<PoolNumber>>("GET", path) });
  const add = async (form: FormData) => {
    await send("POST", `${ADMIN}/numbers`, { tenant_id: textOf(form, "tenant_id"), virtual_number: textOf(form, "virtual_number"), mode: textOf(form, "mode") });
    await client.invalidateQueries({ queryKey: ["pool"] });
  };
  const of = (number: PoolNumber) => `${ADMIN}/numbers/${encodeURIComponent(number.virtual_number)}`;
  return (
    <Page title="Numbers">
      <Loaded query={numbers}>
        {(page) => (
          <>
            {page.response.length > 0 ? (
              <Table
                label="Numbers"
                rows={page.response}
                rowKey={(number) => number.virtual_number}
                columns={[
                  { name: "Virtual number", cell: (number) => number.virtual_number },
                  { name: "Tenant", cell: (number) => <Link to={`/operator/tenants/${number.tenant_id}`}>{number.tenant_id}</Link> },
                  { name: "Mode", cell: (number) => number.mode },
                  { name: "PIN digits", numeric: true, cell: (number) => number.pin_length },
                  { name: "Active", numeric: true, cell: (number) => `${number.active} of ${number.max_active}` },
                  { name: "State", cell: (number) => <Badge tone={number.quarantined ? "warn" : "good"}>{number.quarantined ? "quarantined" : "in use"}</Badge> },
                  {
                    name: "Actions",
                    cell: (number) =>
                      number.quarantined ? (
                        <ActionButton label="Release" refresh={["pool"]} run={() => send("POST", `${of(number)}/release`)} />
                      ) : (
                        <ActionButton label="Quarantine" question="It takes no new allocations." refresh={["pool"]} run={() => send("POST", `${of(number)}/quarantine`)} />
                      ),
                  },
                ]}
              />
            ) : (
              <Empty title="No numbers yet." command="greenpin number add --tenant acme +VIRTUAL_NUMBER" />
            )}
            <Pager next={page.next_cursor} cursor={read("cursor")} onChange={(cursor) => change({ cursor })} />
          </>
        )}
      </Loaded>
      <Panel title="Add a number">
        <RequestForm label="Add" onSubmit={add}>
          <div className="fields">
            <Field name="tenant_id" label="Tenant" required />
            <Field name="virtual_number" label="Virtual number" required placeholder="+914000000001" />
            <label className="field">
              <span>Mode</span>
              <select name="mode">
                <option>exclusive</option>
                <option>shared</option>
              </select>
            </label>
          </div>
        </RequestForm>
      </Panel>
    </Page>
  );
}

interface Trunk {
  name: string;
  peer: string | null;
  accept_from: string[];
  state: string | null;
  registered: boolean | null;
  max_calls: number | null;
  codecs: string[];
  srtp: string;
}

export function OperatorTrunks() {
  const trunks = useQuery({ queryKey: ["trunks"], queryFn: () => get<Trunk[]>(`${ADMIN}/trunks`), refetchInterval: 5_000 });
  return (
    <Page title="Trunks">
      <Loaded query={trunks}>
        {(trunks) =>
          trunks.length === 0 ? (
            <Empty title="The configuration has no trunks.">
              <p>
                Add a <code>[[trunks]]</code> table to the configuration. Guide: connect your carrier.
              </p>
            </Empty>
          ) : (
            <Table
              label="Trunks"
              rows={trunks}
              rowKey={(trunk) => trunk.name}
              columns={[
                { name: "Name", cell: (trunk) => trunk.name },
                { name: "State", cell: (trunk) => (trunk.state ? <StatusBadge word={trunk.state} /> : "–") },
                { name: "Registered", cell: (trunk) => (trunk.registered === null ? "–" : trunk.registered ? "yes" : <Badge tone="bad">no</Badge>) },
                { name: "Peer", cell: (trunk) => <Text>{trunk.peer}</Text> },
                { name: "Accepts from", cell: (trunk) => trunk.accept_from.join(", ") || "–" },
                { name: "Codecs", cell: (trunk) => trunk.codecs.join(", ") || "default" },
                { name: "SRTP", cell: (trunk) => trunk.srtp },
                { name: "Most calls", numeric: true, cell: (trunk) => trunk.max_calls ?? "–" },
              ]}
            />
          )
        }
      </Loaded>
      <Curl method="GET" path={`${ADMIN}/trunks`} />
    </Page>
  );
}

interface Node {
  name: string;
  version: string;
  started_at: string;
  last_heartbeat: string;
  lease: number | null;
  calls: number;
  draining: boolean;
}

interface LiveCall {
  call_sid: string;
  tenant_id: string | null;
  state: string;
  trunk: string;
  started_at?: string;
}

export function OperatorNodes() {
  const nodes = useQuery({ queryKey: ["nodes"], queryFn: () => get<Node[]>(`${ADMIN}/nodes`), refetchInterval: 5_000 });
  const calls = useQuery({ queryKey: ["node-calls"], queryFn: () => get<LiveCall[]>(`${ADMIN}/calls`), refetchInterval: 3_000 });
  return (
    <Page title="Nodes">
      <Loaded query={nodes}>
        {(nodes) => (
          <Table
            label="Nodes"
            rows={nodes}
            rowKey={(node) => node.name}
            columns={[
              { name: "Node", cell: (node) => node.name },
              { name: "State", cell: (node) => <Badge tone={node.draining ? "warn" : "good"}>{node.draining ? "draining" : "ready"}</Badge> },
              { name: "Calls", numeric: true, cell: (node) => node.calls },
              { name: "Version", cell: (node) => node.version },
              { name: "Started (UTC)", cell: (node) => <Time at={node.started_at} /> },
              { name: "Last heartbeat (UTC)", cell: (node) => <Time at={node.last_heartbeat} /> },
              { name: "Lease", numeric: true, cell: (node) => (node.lease === null ? "–" : `${node.lease} s`) },
              {
                name: "Actions",
                cell: (node) => {
                  const path = `${ADMIN}/nodes/${encodeURIComponent(node.name)}`;
                  return node.draining ? (
                    <ActionButton label="End drain" refresh={["nodes"]} run={() => send("POST", `${path}/undrain`)} />
                  ) : (
                    <ActionButton label="Drain" danger question="It takes no new calls; live calls go on." refresh={["nodes"]} run={() => send("POST", `${path}/drain`)} />
                  );
                },
              },
            ]}
          />
        )}
      </Loaded>
      <Panel title="Calls of the node that serves this page">
        <Loaded query={calls}>
          {(calls) =>
            calls.length === 0 ? (
              <Empty title="No calls." />
            ) : (
              <Table
                label="Calls of this node"
                rows={calls}
                rowKey={(call) => call.call_sid}
                columns={[
                  { name: "Call", cell: (call) => <Link to={`/operator/calls/${call.call_sid}`}><code>{call.call_sid}</code></Link> },
                  { name: "Tenant", cell: (call) => <Text>{call.tenant_id}</Text> },
                  { name: "State", cell: (call) => <StatusBadge word={call.state} /> },
                  { name: "Actions", cell: (call) => <ActionButton label="End" danger question="Both parties are cut off." refresh={["node-calls"]} run={() => send("DELETE", `${ADMIN}/calls/${call.call_sid}`)} /> },
                ]}
              />
            )
          }
        </Loaded>
      </Panel>
      <Panel title="Look up a call">
        <RequestForm label="Look up" onSubmit={async (form) => navigate(`/operator/calls/${textOf(form, "call_sid")}`)}>
          <div className="fields">
            <Field name="call_sid" label="Call id" required placeholder="call_…" hint="Of any tenant" />
          </div>
        </RequestForm>
      </Panel>
      <Curl method="GET" path={`${ADMIN}/nodes`} />
    </Page>
  );
}

/** What the operator sees of a call: why it ended, and the Call-IDs of its legs. */
export function OperatorCall({ id }: { id: string }) {
  const path = `${ADMIN}/calls/${id}`;
  const call = useQuery({ queryKey: ["operator-call", id], queryFn: () => get<{ why?: string | null; cause?: string | null }>(path) });
  return (
    <Page title="Call">
      <Loaded query={call}>
        {(call) => (
          <>
            {call.why && (
              <p className="why">
                {call.cause && <StatusBadge word={call.cause} />} <span>{call.why}</span>
              </p>
            )}
            <Panel title="Record">
              <pre tabIndex={0}>{JSON.stringify(call, null, 2)}</pre>
            </Panel>
          </>
        )}
      </Loaded>
      <Curl method="GET" path={path} />
    </Page>
  );
}

export function OperatorRefused() {
  const refused = useQuery({
    queryKey: ["refused"],
    queryFn: () => get<Record<string, unknown>[]>(`${ADMIN}/refused`).catch((error) => (error instanceof ApiError && error.status === 404 ? null : Promise.reject(error))),
    refetchInterval: 5_000,
  });
  const text = (value: unknown) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));
  const isTime = (value: unknown) => typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value);
  return (
    <Page title="Refused INVITEs">
      {refused.data === undefined ? (
        <Loaded query={refused}>{() => null}</Loaded>
      ) : refused.data === null ? (
        <Empty title="This version keeps no list of refused INVITEs." />
      ) : refused.data.length === 0 ? (
        <Empty title="No INVITE was refused." />
      ) : (
        <Table<Record<string, unknown>>
          label="Refused INVITEs"
          rows={refused.data.map((row, index) => ({ ...row, index }))}
          rowKey={(row) => String(row.index)}
          columns={Object.keys(refused.data[0] ?? {}).map((name) => ({ name: name.replaceAll("_", " "), cell: (row) => (isTime(row[name]) ? <Time at={String(row[name])} /> : <Text>{text(row[name])}</Text>) }))}
        />
      )}
    </Page>
  );
}

export function OperatorAudit() {
  const [read, change] = useQueryState();
  const path = withQuery(`${ADMIN}/audit`, { after: read("cursor"), limit: "200" });
  const entries = useQuery({ queryKey: ["admin-audit", path], queryFn: () => request<Items<AuditEntry>>("GET", path) });
  return (
    <Page title="Audit">
      <Loaded query={entries}>
        {(page) => (
          <>
            <AuditTable entries={page.response} />
            {page.next_cursor && (
              <nav className="pager" aria-label="Pages">
                <button type="button" onClick={() => change({ cursor: page.next_cursor ?? "" })}>
                  Later
                </button>
              </nav>
            )}
          </>
        )}
      </Loaded>
    </Page>
  );
}
