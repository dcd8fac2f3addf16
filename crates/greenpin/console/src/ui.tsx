// Parts of pages.

import { useId, useState, type FormEvent, type ReactNode } from "react";
import { useQueryClient } from "@tanstack/react-query";
import { ApiError, type Session } from "./api";
import { localTime, utcTime, words } from "./format";
import { createContext, useContext } from "react";

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("no session");
  return session;
}

/** Returns the path of the tenant's API. */
export function useTenantPath(): string {
  return `/v1/tenants/${useSession().tenant_id}`;
}

export function Time({ at }: { at: string | null | undefined }) {
  if (!at) return <>–</>;
  return (
    <time dateTime={at} title={utcTime(at)}>
      {localTime(at)}
    </time>
  );
}

/** Text of a stranger: its direction does not affect its surroundings. */
export function Text({ children }: { children: string | null | undefined }) {
  return children ? <bdi>{children}</bdi> : <>–</>;
}

type Tone = "good" | "bad" | "warn" | "plain" | "live";

export function Badge({ tone, children }: { tone: Tone; children: ReactNode }) {
  return <span className={`badge ${tone}`}>{children}</span>;
}

const TONES: Record<string, Tone> = {
  completed: "good",
  delivered: "good",
  active: "good",
  up: "good",
  deleted: "plain",
  expired: "plain",
  pending: "warn",
  dead: "bad",
  away: "bad",
  suspended: "bad",
};

export function StatusBadge({ word }: { word: string }) {
  return <Badge tone={TONES[word] ?? "plain"}>{words(word)}</Badge>;
}

export function Page({ title, actions, children }: { title: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <>
      <header className="page-head">
        <h1>{title}</h1>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Panel({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}

export function Facts({ items }: { items: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export interface Column<T> {
  name: string;
  cell: (row: T) => ReactNode;
  /** Numbers stand right. */
  numeric?: boolean;
}

export function Table<T>({ label, columns, rows, rowKey }: { label: string; columns: Column<T>[]; rows: T[]; rowKey: (row: T) => string }) {
  return (
    <div className="table">
      <table aria-label={label} role="table">
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th key={column.name} role="columnheader" scope="col" className={column.numeric ? "numeric" : undefined}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={rowKey(row)} role="row">
              {columns.map((column) => (
                <td key={column.name} role="cell" data-label={column.name} className={column.numeric ? "numeric" : undefined}>
                  <div>{column.cell(row)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Loading() {
  return (
    <p className="loading" role="status">
      Loading…
    </p>
  );
}

export function Failure({ error }: { error: unknown }) {
  const known = error instanceof ApiError ? error : null;
  return (
    <div className="failure" role="alert">
      <p>{error instanceof Error ? error.message : "The request failed."}</p>
      {known && known.faults.length > 0 && (
        <ul>
          {known.faults.map((fault) => (
            <li key={fault.field}>
              <code>{fault.field}</code> {fault.message}
            </li>
          ))}
        </ul>
      )}
      {known?.requestId && (
        <p className="quiet">
          <code>{known.code}</code> · <code>{known.requestId}</code>
        </p>
      )}
    </div>
  );
}

interface QueryLike<T> {
  data: T | undefined;
  error: unknown;
}

export function Loaded<T>({ query, children }: { query: QueryLike<T>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  return query.error ? <Failure error={query.error} /> : <Loading />;
}

/** Explains an empty list, and the command that fills it. */
export function Empty({ title, command, children }: { title: string; command?: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
      {command && <Command text={command} />}
    </div>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(text).catch(() => {});
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" className="small" onClick={copy}>
      <span aria-live="polite">{copied ? "Copied" : label}</span>
    </button>
  );
}

export function Command({ text }: { text: string }) {
  return (
    <div className="command">
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} />
    </div>
  );
}

/** Returns the `curl` command of a request. The token is a variable, so that it appears in no history. */
export function useCurl(): (method: string, path: string, body?: unknown) => string {
  const session = useSession();
  const credentials =
    session.kind === "operator" ? '-H "authorization: Bearer $GREENPIN_OPERATOR_TOKEN"' : `-u ${session.account_sid}:"$GREENPIN_TOKEN"`;
  return (method, path, body) => {
    const base = session.public_url || location.origin;
    const parts = ["curl", credentials];
    if (method !== "GET") parts.push(`-X ${method}`);
    parts.push(`'${base}${path}'`);
    if (body !== undefined) parts.push(`\\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(body)}'`);
    return parts.join(" ");
  };
}

export function Curl({ method, path, body }: { method: string; path: string; body?: unknown }) {
  const curl = useCurl();
  return (
    <details className="curl">
      <summary>curl</summary>
      <Command text={curl(method, path, body)} />
    </details>
  );
}

export function Pager({ next, cursor, onChange }: { next: string | null; cursor: string; onChange: (cursor: string) => void }) {
  if (!next && !cursor) return null;
  return (
    <nav className="pager" aria-label="Pages">
      {cursor && (
        <button type="button" onClick={() => onChange("")}>
          Newest
        </button>
      )}
      {next && (
        <button type="button" onClick={() => onChange(next)}>
          Older
        </button>
      )}
    </nav>
  );
}

export function Select({ label, value, options, onChange }: { label: string; value: string; options: [string, string][]; onChange: (value: string) => void }) {
  return (
    <label className="field">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([word, text]) => (
          <option key={word} value={word}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Field({
  label,
  hint,
  name,
  type = "text",
  defaultValue,
  required,
  autoComplete = "off",
  placeholder,
}: {
  label: string;
  hint?: string;
  name: string;
  type?: string;
  defaultValue?: string;
  required?: boolean;
  autoComplete?: string;
  placeholder?: string;
}) {
  return (
    <label className="field">
      <span>{label}</span>
      <input name={name} type={type} defaultValue={defaultValue} required={required} autoComplete={autoComplete} placeholder={placeholder} spellCheck={false} />
      {hint && <small>{hint}</small>}
    </label>
  );
}

/** Returns the text of a field of a form. */
export function textOf(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** Button that performs a request, after a question if it has one. */
export function ActionButton({ label, question, danger, run, refresh }: { label: string; question?: string; danger?: boolean; run: () => Promise<unknown>; refresh?: string[] }) {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const client = useQueryClient();
  const perform = async () => {
    setAsking(false);
    setBusy(true);
    setError(null);
    try {
      await run();
      await client.invalidateQueries({ queryKey: refresh });
    } catch (caught) {
      setError(caught);
    }
    setBusy(false);
  };
  return (
    <span className="action">
      {asking ? (
        <span role="group" aria-label={question} className="asking">
          <span>{question}</span>
          <button type="button" className={danger ? "danger" : "primary"} onClick={perform} autoFocus>
            {label}
          </button>
          <button type="button" onClick={() => setAsking(false)}>
            Cancel
          </button>
        </span>
      ) : (
        <button type="button" className={danger ? "danger" : undefined} disabled={busy} onClick={question ? () => setAsking(true) : perform}>
          {label}
        </button>
      )}
      {error !== null && <Failure error={error} />}
    </span>
  );
}

/** Form that performs a request and shows its failure. */
export function RequestForm({ label, onSubmit, children, busyLabel }: { label: string; busyLabel?: string; onSubmit: (form: FormData) => Promise<unknown>; children: ReactNode }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await onSubmit(new FormData(event.currentTarget));
    } catch (caught) {
      setError(caught);
    }
    setBusy(false);
  };
  return (
    <form onSubmit={submit} className="form">
      {children}
      {error !== null && <Failure error={error} />}
      <div>
        <button type="submit" className="primary" disabled={busy}>
          {busy ? (busyLabel ?? label) : label}
        </button>
      </div>
    </form>
  );
}
