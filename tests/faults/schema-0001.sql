-- The ledger as version 0.1 made it (step 0001), on SQLite: what a worker of today must be able to take over.
CREATE TABLE "seaql_migrations" ( "version" varchar NOT NULL PRIMARY KEY, "applied_at" integer NOT NULL );
CREATE TABLE "request" ( "request_key" varchar(64) NOT NULL PRIMARY KEY, "answered_mail" varchar(64) NULL UNIQUE, "sender" varchar(64) NOT NULL, "identity" varchar(64) NOT NULL, "verdict" varchar(32) NOT NULL, "granted" varchar(8) NOT NULL, "has_attachments" boolean NOT NULL, "catalogue" varchar(16) NOT NULL, "created_ms" integer NOT NULL );
CREATE TABLE "reply" ( "request_key" varchar(64) NOT NULL, "number" integer NOT NULL, "response" varchar(16) NOT NULL, "state" varchar(16) NOT NULL, "attempts" integer NOT NULL, "ambiguous" integer NOT NULL, "held_until_ms" integer NOT NULL, PRIMARY KEY ("request_key", "number") );
CREATE TABLE "turn" ( "number" integer NOT NULL PRIMARY KEY, "taken" integer NOT NULL );
CREATE TABLE "counter" ( "name" varchar(64) NOT NULL PRIMARY KEY, "slots" text NOT NULL, "touched_ms" integer NOT NULL );
CREATE TABLE "day_key" ( "day" integer NOT NULL PRIMARY KEY, "key" varchar(64) NOT NULL );
CREATE TABLE "list" ( "kind" varchar(16) NOT NULL, "entry" varchar(64) NOT NULL, "reason" varchar(32) NOT NULL, "created_ms" integer NOT NULL, "expires_ms" integer NULL, PRIMARY KEY ("kind", "entry") );
CREATE TABLE "switch" ( "name" varchar(400) NOT NULL PRIMARY KEY, "value" varchar(32) NOT NULL, "set_ms" integer NOT NULL );
CREATE TABLE "worker" ( "id" varchar(64) NOT NULL PRIMARY KEY, "started_ms" integer NOT NULL, "seen_ms" integer NOT NULL, "switches" varchar(16) NOT NULL, "is_shedding" boolean NOT NULL, "catalogue" varchar(16) NOT NULL );
CREATE INDEX "request_by_sender" ON "request" ("sender", "created_ms");
CREATE INDEX "request_by_time" ON "request" ("created_ms");
INSERT INTO "seaql_migrations" VALUES ('0001_requests_and_replies', 1795291224);
WITH RECURSIVE turns(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM turns WHERE number < 1023)
    INSERT INTO "turn" SELECT number, number * 7919 + 1 FROM turns;
INSERT INTO "request" VALUES ('answered', 'mail', 'sender', 'identity', 'answer', 'small', 0, 'c', 1795291224000);
INSERT INTO "reply" VALUES ('answered', 0, 'response', 'sent', 1, 0, 0);
INSERT INTO "request" VALUES ('waits', 'other', 'sender', 'other', 'answer', 'small', 0, 'c', 1795291224000);
INSERT INTO "reply" VALUES ('waits', 0, 'response', 'pending', 0, 0, 0);
