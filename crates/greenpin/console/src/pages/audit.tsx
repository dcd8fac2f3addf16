import { useQuery } from "@tanstack/react-query";
import { request, withQuery, type AuditEntry, type Page as Items } from "../api";
import { useQueryState } from "../router";
import { Empty, Loaded, Page, Pager, Table, Text, Time } from "../ui";

export function AuditTable({ entries }: { entries: AuditEntry[] }) {
  return (
    <Table
      label="Audit log"
      rows={entries}
      rowKey={(entry) => entry.audit_id}
      columns={[
        { name: "Time (UTC)", cell: (entry) => <Time at={entry.occurred_at} /> },
        { name: "By", cell: (entry) => entry.actor },
        { name: "Action", cell: (entry) => <code>{entry.act}</code> },
        { name: "Tenant", cell: (entry) => <Text>{entry.tenant_id}</Text> },
        { name: "Object", cell: (entry) => <Text>{entry.object}</Text> },
        { name: "Request", cell: (entry) => <code className="quiet">{entry.request_id ?? "–"}</code> },
      ]}
    />
  );
}

export function Audit() {
  const [read, change] = useQueryState();
  const path = withQuery("/console/audit-log", { cursor: read("cursor") });
  const entries = useQuery({ queryKey: ["audit", path], queryFn: () => request<Items<AuditEntry>>("GET", path) });
  return (
    <Page title="Audit">
      <Loaded query={entries}>
        {(page) => (
          <>
            {page.response.length > 0 ? <AuditTable entries={page.response} /> : <Empty title="No entries." />}
            <Pager next={page.next_cursor} cursor={read("cursor")} onChange={(cursor) => change({ cursor })} />
          </>
        )}
      </Loaded>
    </Page>
  );
}
