-- The record of the stack that people build.
CREATE TABLE decisions (
  id text PRIMARY KEY,
  payer text NOT NULL,
  payee text NOT NULL,
  amount_centavos bigint NOT NULL,
  verdict text NOT NULL,
  status text,
  from_cache boolean NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT now()
);
