import { useQuery } from "@tanstack/react-query";
import { get, type Credential, type LoggedRequest } from "../api";
import { useQueryState } from "../router";
import { credentialColumns } from "./credentials";
import { Badge, Command, Empty, Loaded, Page, Panel, Table, Time, useCurl, useSession, useTenantPath } from "../ui";

export function Developers() {
  const session = useSession();
  const base = useTenantPath();
  const curl = useCurl();
  const stream = curl("GET", `${base}/stream`).replace("curl", "curl -N");
  return (
    <Page
      title="Developers"
      actions={
        <>
          <a className="button" href="/docs">
            API reference
          </a>
          <a className="button" href="/openapi.json" download>
            OpenAPI
          </a>
        </>
      }
    >
      <Requests />
      <Panel title="Credentials">
        <p>
          The user name is the account SID <code>{session.account_sid}</code>, the password is its token. The server does not store the token: if it is lost, the operator rotates the credential.
        </p>
        <Credentials />
        <Command text={`export GREENPIN_TOKEN=…`} />
      </Panel>
      <Panel title="Create an allocation">
        <Command text={curl("POST", `${base}/greenpin`, { caller_id_number: "+VIRTUAL_NUMBER", from: ["+AGENT"], to: ["+CUSTOMER"], duration: 3600 })} />
      </Panel>
      <Panel title="Follow the events">
        <Command text={stream} />
        <p className="quiet">
          Server-sent events. After an interruption send the last <code>id</code> in <code>Last-Event-ID</code>.
        </p>
      </Panel>
      <Panel title="Find a call">
        <Command text={curl("GET", `${base}/search?q=0001`)} />
      </Panel>
      <Panel title="Call from this machine">
        <Command text="greenpin call +VIRTUAL_NUMBER --from +CUSTOMER --pin NNNN" />
      </Panel>
    </Page>
  );
}

function Credentials() {
  const credentials = useQuery({ queryKey: ["credentials"], queryFn: () => get<Credential[]>("/console/credentials") });
  return (
    <Loaded query={credentials}>
      {(credentials) => (
        <Table
          label="Credentials"
          rows={credentials}
          rowKey={(credential) => credential.account_sid}
          columns={[
            ...credentialColumns("Last used"),
            { name: "Valid until", cell: (credential) => <Time at={credential.revoked_at} /> },
          ]}
        />
      )}
    </Loaded>
  );
}

/** The latest requests to this node. A filter, such as a request id or a code, is in the address. */
function Requests() {
  const requests = useQuery({ queryKey: ["request-log"], queryFn: () => get<LoggedRequest[]>("/console/request-log"), refetchInterval: 10_000 });
  const [read, change] = useQueryState();
  const wanted = read("request").toLowerCase();
  const matches = (request: LoggedRequest) => `${request.request_id} ${request.method} ${request.route} ${request.status} ${request.code ?? ""}`.toLowerCase().includes(wanted);
  return (
    <Panel
      title="Latest requests"
      actions={
        <form
          onSubmit={(event) => {
            event.preventDefault();
            change({ request: String(new FormData(event.currentTarget).get("request") ?? "").trim() });
          }}
        >
          <input key={wanted} name="request" type="search" aria-label="Filter requests" placeholder="Id, status or code" defaultValue={wanted} />
        </form>
      }
    >
      <Loaded query={requests}>
        {(requests) => {
          const shown = requests.filter(matches);
          return shown.length === 0 ? (
            <Empty title="No requests.">The node keeps the latest 200 requests of your programs since its start.</Empty>
          ) : (
            <Table
              label="Latest requests"
              rows={shown}
              rowKey={(request) => request.request_id}
              columns={[
                { name: "Time", cell: (request) => <Time at={request.at} /> },
                { name: "Request", cell: (request) => <code>{`${request.method} ${request.route.replace("/v1/tenants/{tenant_id}", "")}`}</code> },
                { name: "Status", cell: (request) => <Badge tone={request.status < 400 ? "good" : request.status < 500 ? "warn" : "bad"}>{String(request.status)}</Badge> },
                { name: "Code", cell: (request) => (request.code ? <a href={`/docs#error-${request.code}`}>{request.code}</a> : "–") },
                { name: "Latency", numeric: true, cell: (request) => `${request.latency_ms.toFixed(1)} ms` },
                { name: "Request id", cell: (request) => <code>{request.request_id}</code> },
              ]}
            />
          );
        }}
      </Loaded>
    </Panel>
  );
}
