import { useState } from "react";
import { send, type Session } from "../api";
import { Field, RequestForm, textOf } from "../ui";

export function SignIn({ onSignedIn }: { onSignedIn: (session: Session) => void }) {
  const [operator, setOperator] = useState(false);
  const signIn = async (form: FormData) => {
    const body = operator
      ? { operator_token: textOf(form, "operator_token") }
      : { account_sid: textOf(form, "account_sid"), token: textOf(form, "token") };
    onSignedIn(await send<Session>("POST", "/console/session", body));
  };
  return (
    <main className="sign-in">
      <h1>greenpin</h1>
      <fieldset className="tabs">
        <legend className="hidden">Sign in as</legend>
        <label>
          <input type="radio" name="kind" checked={!operator} onChange={() => setOperator(false)} />
          <span>Tenant</span>
        </label>
        <label>
          <input type="radio" name="kind" checked={operator} onChange={() => setOperator(true)} />
          <span>Operator</span>
        </label>
      </fieldset>
      <RequestForm key={String(operator)} label="Sign in" onSubmit={signIn}>
        {operator ? (
          <Field name="operator_token" label="Operator token" type="password" required autoComplete="current-password" hint="http.operator_token of the configuration" />
        ) : (
          <>
            <Field name="account_sid" label="Account SID" required autoComplete="username" />
            <Field name="token" label="Token" type="password" required autoComplete="current-password" hint="Printed once by greenpin tenant create" />
          </>
        )}
      </RequestForm>
    </main>
  );
}
