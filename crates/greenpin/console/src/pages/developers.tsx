import { Command, Page, Panel, useCurl, useSession, useTenantPath } from "../ui";

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
      <Panel title="Credentials">
        <p>
          The user name is the account SID <code>{session.account_sid}</code>, the password is its token. The server does not store the token: if it is lost, the operator rotates the credential.
        </p>
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
