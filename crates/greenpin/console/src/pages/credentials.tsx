import type { Credential } from "../api";
import { Badge, Text, Time, type Column } from "../ui";

/** Columns that every list of credentials has. */
export function credentialColumns(lastUsed: string): Column<Credential>[] {
  return [
    { name: "Account SID", cell: (credential) => <code>{credential.account_sid}</code> },
    { name: "Label", cell: (credential) => <Text>{credential.label}</Text> },
    { name: "State", cell: (credential) => <Badge tone={credential.live ? "good" : "plain"}>{credential.live ? "live" : "revoked"}</Badge> },
    { name: lastUsed, cell: (credential) => <Time at={credential.last_used_at} /> },
  ];
}
