// Navigation, search and the page of the address.

import { useEffect, useRef, type FormEvent, type ReactNode } from "react";
import { send } from "./api";
import { LiveEvents, useLive } from "./live";
import { Allocations } from "./pages/allocations";
import { AllocationPage } from "./pages/allocation";
import { Audit } from "./pages/audit";
import { CallPage } from "./pages/call";
import { Calls } from "./pages/calls";
import { Developers } from "./pages/developers";
import { Numbers } from "./pages/numbers";
import { OperatorAudit, OperatorCall, OperatorNodes, OperatorNumbers, OperatorRefused, OperatorTenant, OperatorTenants, OperatorTrunks } from "./pages/operator";
import { Overview } from "./pages/overview";
import { SearchPage, setSearch } from "./pages/search";
import { Settings } from "./pages/settings";
import { Webhooks } from "./pages/webhooks";
import { Link, navigate, usePlace } from "./router";
import { Empty, Page, useSession } from "./ui";

const TENANT_PAGES: [string, string][] = [
  ["/", "Overview"],
  ["/calls", "Calls"],
  ["/allocations", "Allocations"],
  ["/numbers", "Numbers"],
  ["/webhooks", "Webhooks"],
  ["/settings", "Settings"],
  ["/developers", "Developers"],
  ["/audit", "Audit"],
];

const OPERATOR_PAGES: [string, string][] = [
  ["/operator/tenants", "Tenants"],
  ["/operator/numbers", "Numbers"],
  ["/operator/trunks", "Trunks"],
  ["/operator/nodes", "Nodes"],
  ["/operator/refused", "Refused INVITEs"],
  ["/operator/audit", "Audit"],
];

type Route = [RegExp, (id: string) => ReactNode];

const TENANT_ROUTES: Route[] = [
  [/^\/$/, () => <Overview />],
  [/^\/calls$/, () => <Calls />],
  [/^\/calls\/([^/]+)$/, (id) => <CallPage key={id} id={id} />],
  [/^\/allocations$/, () => <Allocations />],
  [/^\/allocations\/([^/]+)$/, (id) => <AllocationPage key={id} id={id} />],
  [/^\/numbers$/, () => <Numbers />],
  [/^\/webhooks$/, () => <Webhooks />],
  [/^\/settings$/, () => <Settings />],
  [/^\/developers$/, () => <Developers />],
  [/^\/audit$/, () => <Audit />],
  [/^\/search$/, () => <SearchPage />],
];

const OPERATOR_ROUTES: Route[] = [
  [/^\/$/, () => <OperatorTenants />],
  [/^\/operator(?:\/tenants)?$/, () => <OperatorTenants />],
  [/^\/operator\/tenants\/([^/]+)$/, (id) => <OperatorTenant key={id} id={id} />],
  [/^\/operator\/numbers$/, () => <OperatorNumbers />],
  [/^\/operator\/trunks$/, () => <OperatorTrunks />],
  [/^\/operator\/nodes$/, () => <OperatorNodes />],
  [/^\/operator\/calls\/([^/]+)$/, (id) => <OperatorCall key={id} id={id} />],
  [/^\/operator\/refused$/, () => <OperatorRefused />],
  [/^\/operator\/audit$/, () => <OperatorAudit />],
];

export function Shell({ onSignedOut }: { onSignedOut: () => void }) {
  const session = useSession();
  const { path } = usePlace();
  const isOperator = session.kind === "operator";
  const pages = isOperator ? OPERATOR_PAGES : TENANT_PAGES;
  const isCurrent = (page: string) => path === page || (page !== "/" && path.startsWith(`${page}/`)) || (isOperator && path === "/" && page === "/operator/tenants");
  const leave = async (everywhere: boolean) => {
    await send("DELETE", everywhere ? "/console/sessions" : "/console/session").catch(() => {});
    // The next user may not see this page.
    navigate("/");
    onSignedOut();
  };
  const content = (
    <>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <aside>
        <div className="brand">
          <img src={icon()} alt="" width="22" height="22" />
          <span>greenpin</span>
        </div>
        <nav aria-label="Console">
          {pages.map(([page, name]) => (
            <Link key={page} to={page} aria-current={isCurrent(page) ? "page" : undefined}>
              {name}
            </Link>
          ))}
        </nav>
        <div className="account">
          <div className="who">
            <strong>{isOperator ? "Operator" : session.tenant_id}</strong>
            {session.account_sid && <span>{session.account_sid}</span>}
          </div>
          <button type="button" className="small" onClick={() => leave(false)}>
            Sign out
          </button>
          <button type="button" className="small" onClick={() => leave(true)}>
            Sign out everywhere
          </button>
        </div>
      </aside>
      <div className="body">
        {!isOperator && <TopBar />}
        <main id="main" tabIndex={-1}>
          <Content routes={isOperator ? OPERATOR_ROUTES : TENANT_ROUTES} />
        </main>
      </div>
    </>
  );
  return isOperator ? <div className="shell">{content}</div> : <LiveEvents><div className="shell">{content}</div></LiveEvents>;
}

function icon(): string {
  return document.querySelector<HTMLLinkElement>("link[rel=icon]")?.href ?? "";
}

function Content({ routes }: { routes: Route[] }) {
  const { path } = usePlace();
  useEffect(() => {
    const heading = document.querySelector("main h1")?.textContent;
    document.title = heading ? `${heading} · greenpin` : "greenpin";
  });
  // In a narrow window the navigation scrolls.
  useEffect(() => {
    document.querySelector("aside [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [path]);
  for (const [pattern, page] of routes) {
    const found = pattern.exec(path);
    if (found) return page(decodeURIComponent(found[1] ?? ""));
  }
  return (
    <Page title="Not found">
      <Empty title="The console has no page with this address." />
    </Page>
  );
}

function TopBar() {
  const { state } = useLive();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key !== "/" || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  const search = (event: FormEvent) => {
    event.preventDefault();
    const typed = input.current?.value.trim() ?? "";
    const compact = typed.replaceAll(/[\s()-]/g, "");
    const text = /^\+?\d+$/.test(compact) ? compact : typed;
    if (!text) return;
    const id = /^(call|gp)_/.exec(text);
    if (id) return navigate(id[1] === "call" ? `/calls/${text}` : `/allocations/${text}`);
    if (text.startsWith("req_")) return navigate(`/developers?request=${encodeURIComponent(text)}`);
    setSearch(text);
    // A number stays out of the address: it holds the last four digits.
    navigate(`/search?q=${encodeURIComponent(/^\+?\d+$/.test(text) ? text.slice(-4) : text)}`);
  };
  const names = { connecting: "Connecting", live: "Live", interrupted: "Reconnecting" };
  return (
    <div className="top">
      <form role="search" onSubmit={search}>
        <input ref={input} type="search" aria-label="Search" placeholder="Id, number, or last 3 or more digits  ( / )" autoComplete="off" spellCheck={false} />
      </form>
      <span className={`live ${state}`} role="status">
        {names[state]}
      </span>
    </div>
  );
}
