-- Every way a reservation goes on after HELD. Functions that move counters lock inventory rows first.

-- Pins HELD -> PAYING for a payment attempt. The expiry is judged while the row lock is held.
CREATE OR REPLACE FUNCTION pin_batch(order_ids text[], attempts integer[])
RETURNS TABLE (at_order integer, outcome text, pay_by timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
BEGIN
    PERFORM 1 FROM reservation WHERE order_id = ANY (order_ids) ORDER BY order_id FOR UPDATE;
    moment := clock_timestamp();
    RETURN QUERY
        WITH asked AS (
            SELECT a.at::integer AS at, a.id, a.attempt
            FROM unnest(order_ids, attempts) WITH ORDINALITY AS a(id, attempt, at)
        ), pinned AS (
            UPDATE reservation r
            SET state = 'PAYING', attempt = asked.attempt, asked_at = moment, pinned_at = moment
            FROM asked
            WHERE r.order_id = asked.id AND r.state = 'HELD' AND r.expires_at > moment
              AND asked.attempt > r.attempt
            RETURNING r.order_id
        )
        SELECT asked.at,
               CASE
                   WHEN r.order_id IS NULL THEN 'UNKNOWN_ORDER'
                   WHEN pinned.order_id IS NOT NULL THEN 'PINNED'
                   WHEN r.state = 'PAYING' AND r.attempt = asked.attempt THEN 'PINNED'
                   WHEN r.state IN ('SOLD', 'RETURNED') THEN 'PAID'
                   WHEN r.state = 'PAYING' THEN 'CONFLICT'
                   WHEN r.state = 'HELD' AND r.expires_at > moment THEN 'CONFLICT'
                   ELSE 'EXPIRED'
               END,
               r.expires_at
        FROM asked
        LEFT JOIN reservation r ON r.order_id = asked.id
        LEFT JOIN pinned ON pinned.order_id = asked.id
        ORDER BY asked.at;
END
$$;

CREATE OR REPLACE FUNCTION lock_products_of(order_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM inventory
    WHERE product_id IN (SELECT l.product_id FROM reservation_line l WHERE l.order_id = ANY (order_ids))
    ORDER BY product_id FOR UPDATE;
END
$$;

-- The one way to RELEASED: state, counters, the buyer's count, the event and the return of permits together.
-- The caller has locked the inventory rows and then these reservations.
CREATE OR REPLACE FUNCTION release_locked(order_ids text[], reason text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    released integer;
BEGIN
    WITH freed AS (
        UPDATE reservation r SET state = 'RELEASED'
        WHERE r.order_id = ANY (order_ids) AND r.state IN ('HELD', 'PAYING')
        RETURNING r.order_id, r.user_id, r.topic, r.traceparent
    ), line AS (
        SELECT l.*, freed.user_id FROM reservation_line l JOIN freed USING (order_id)
    ), moved AS (
        UPDATE inventory i
        SET available_qty = i.available_qty + m.qty, reserved_qty = i.reserved_qty - m.qty,
            version = i.version + 1, revision = this_revision(), updated_at = moment
        FROM (SELECT product_id, sum(qty)::integer AS qty FROM line GROUP BY product_id) m
        WHERE i.product_id = m.product_id
        RETURNING i.product_id, i.epoch
    ), shared AS (
        UPDATE sale_item s SET reserved_qty = s.reserved_qty - m.qty, revision = this_revision()
        FROM (SELECT sale_uid, product_id, sum(qty)::integer AS qty FROM line
              WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id) m
        WHERE s.sale_uid = m.sale_uid AND s.product_id = m.product_id
    ), counted AS (
        UPDATE user_sale_qty u SET qty = u.qty - m.qty
        FROM (SELECT sale_uid, product_id, user_id, sum(qty)::integer AS qty FROM line
              WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id, user_id) m
        WHERE u.sale_uid = m.sale_uid AND u.product_id = m.product_id AND u.user_id = m.user_id
    ), returned AS (
        INSERT INTO permit_return (order_id, product_id, epoch, qty, created_at, retry_at)
        SELECT line.order_id, line.product_id, moved.epoch, line.qty, moment, moment
        FROM line
        JOIN moved USING (product_id)
        JOIN sale_item gate ON gate.product_id = line.product_id
             AND gate.sale_uid = gate_sale(line.product_id, moment)
        WHERE gate.strategy = 'Escrow' AND (gate.sale_uid = line.sale_uid OR gate.allocated IS NULL)
        ON CONFLICT DO NOTHING
    ), told AS (
        INSERT INTO outbox (event_id, topic, event_key, type, version, payload, traceparent, occurred_at)
        SELECT gen_random_uuid()::text, freed.topic, freed.order_id, 'OrderExpired', 1,
               json_build_object('orderId', freed.order_id, 'userId', freed.user_id, 'reason', reason)::text,
               freed.traceparent, moment
        FROM freed
    )
    SELECT count(*) INTO released FROM freed;
    RETURN released;
END
$$;

-- Answers the orders that it released.
CREATE OR REPLACE FUNCTION expire_holds(at_most integer) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    due text[];
BEGIN
    due := ARRAY(SELECT order_id FROM reservation
                 WHERE state = 'HELD' AND expires_at <= clock_timestamp()
                 ORDER BY expires_at LIMIT at_most);
    IF cardinality(due) = 0 THEN
        RETURN due;
    END IF;
    PERFORM lock_products_of(due);
    due := ARRAY(SELECT order_id FROM reservation
                 WHERE order_id = ANY (due) AND state = 'HELD' AND expires_at <= clock_timestamp()
                 ORDER BY order_id FOR UPDATE SKIP LOCKED);
    PERFORM release_locked(due, 'expired');
    RETURN due;
END
$$;

-- These attempts ended without a charge: PAYING of that attempt goes back to HELD, or to RELEASED past its pay-by.
-- A HELD order remembers the attempt, so that a pin that comes late is refused.
CREATE OR REPLACE FUNCTION decline_attempts(order_ids text[], attempts integer[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    late text[];
    moved integer;
BEGIN
    PERFORM lock_products_of(order_ids);
    PERFORM 1 FROM reservation WHERE order_id = ANY (order_ids) ORDER BY order_id FOR UPDATE;
    moment := clock_timestamp();
    late := ARRAY(SELECT r.order_id FROM reservation r
                  JOIN unnest(order_ids, attempts) AS a(id, attempt) ON a.id = r.order_id
                  WHERE r.state = 'PAYING' AND r.attempt = a.attempt AND r.expires_at <= moment);
    UPDATE reservation r SET state = 'HELD', attempt = a.attempt
    FROM (SELECT id, max(attempt) AS attempt FROM unnest(order_ids, attempts) AS n(id, attempt) GROUP BY id) a
    WHERE r.order_id = a.id AND r.expires_at > moment
      AND ((r.state = 'PAYING' AND r.attempt = a.attempt) OR (r.state = 'HELD' AND r.attempt < a.attempt));
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved + release_locked(late, 'declined');
END
$$;

-- These attempts were paid: their units are sold. Answers what is stored of the orders now.
-- Only from PAYING: an order that is HELD again after this attempt heard its final word, and a success that comes
-- after it is that of a payment reversed since.
CREATE OR REPLACE FUNCTION confirm_sold(order_ids text[], attempts integer[])
RETURNS TABLE (order_of text, state_now text, attempt_now integer) LANGUAGE plpgsql AS $$
DECLARE
    products text[];
BEGIN
    PERFORM lock_products_of(order_ids);
    PERFORM 1 FROM reservation WHERE order_id = ANY (order_ids) ORDER BY order_id FOR UPDATE;
    WITH sold AS (
        UPDATE reservation r SET state = 'SOLD'
        FROM unnest(order_ids, attempts) AS a(id, attempt)
        WHERE r.order_id = a.id AND r.attempt = a.attempt AND r.state = 'PAYING'
        RETURNING r.order_id
    ), line AS (
        SELECT l.* FROM reservation_line l JOIN sold USING (order_id)
    ), moved AS (
        UPDATE inventory i
        SET reserved_qty = i.reserved_qty - m.qty, sold_qty = i.sold_qty + m.qty,
            version = i.version + 1, revision = this_revision(), updated_at = clock_timestamp()
        FROM (SELECT product_id, sum(qty)::integer AS qty FROM line GROUP BY product_id) m
        WHERE i.product_id = m.product_id
        RETURNING i.product_id
    ), shared AS (
        UPDATE sale_item s
        SET reserved_qty = s.reserved_qty - m.qty, sold_qty = s.sold_qty + m.qty, revision = this_revision()
        FROM (SELECT sale_uid, product_id, sum(qty)::integer AS qty FROM line
              WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id) m
        WHERE s.sale_uid = m.sale_uid AND s.product_id = m.product_id
    )
    SELECT array_agg(moved.product_id) INTO products FROM moved;
    IF products IS NOT NULL THEN
        PERFORM note_sold_out(products);
    END IF;
    RETURN QUERY SELECT r.order_id, r.state, r.attempt FROM reservation r WHERE r.order_id = ANY (order_ids);
END
$$;

-- The money is back: SOLD (or PAYING of that attempt, if the sale was never heard of) goes to RETURNED, once.
-- A restock: the epoch goes up, and the products that are to be warmed are answered.
CREATE OR REPLACE FUNCTION take_back(order_ids text[], attempts integer[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    products text[];
BEGIN
    PERFORM lock_products_of(order_ids);
    PERFORM 1 FROM reservation WHERE order_id = ANY (order_ids) ORDER BY order_id FOR UPDATE;
    WITH before AS (
        SELECT r.order_id, r.user_id, r.state = 'SOLD' AS was_sold
        FROM reservation r JOIN unnest(order_ids, attempts) AS a(id, attempt) ON a.id = r.order_id
        WHERE r.attempt = a.attempt AND r.state IN ('SOLD', 'PAYING')
    ), back AS (
        UPDATE reservation r SET state = 'RETURNED' FROM before
        WHERE r.order_id = before.order_id RETURNING r.order_id
    ), line AS (
        SELECT l.*, before.user_id, before.was_sold
        FROM reservation_line l JOIN before USING (order_id) JOIN back USING (order_id)
    ), moved AS (
        UPDATE inventory i
        SET available_qty = i.available_qty + m.sold + m.paying, sold_qty = i.sold_qty - m.sold,
            reserved_qty = i.reserved_qty - m.paying, epoch = i.epoch + 1,
            version = i.version + 1, revision = this_revision(), updated_at = clock_timestamp()
        FROM (SELECT product_id, coalesce(sum(qty) FILTER (WHERE was_sold), 0)::integer AS sold,
                     coalesce(sum(qty) FILTER (WHERE NOT was_sold), 0)::integer AS paying
              FROM line GROUP BY product_id) m
        WHERE i.product_id = m.product_id
        RETURNING i.product_id
    ), shared AS (
        UPDATE sale_item s
        SET sold_qty = s.sold_qty - m.sold, reserved_qty = s.reserved_qty - m.paying,
            revision = this_revision()
        FROM (SELECT sale_uid, product_id, coalesce(sum(qty) FILTER (WHERE was_sold), 0)::integer AS sold,
                     coalesce(sum(qty) FILTER (WHERE NOT was_sold), 0)::integer AS paying
              FROM line WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id) m
        WHERE s.sale_uid = m.sale_uid AND s.product_id = m.product_id
    ), counted AS (
        UPDATE user_sale_qty u SET qty = u.qty - m.qty
        FROM (SELECT sale_uid, product_id, user_id, sum(qty)::integer AS qty FROM line
              WHERE sale_uid IS NOT NULL GROUP BY sale_uid, product_id, user_id) m
        WHERE u.sale_uid = m.sale_uid AND u.product_id = m.product_id AND u.user_id = m.user_id
    )
    SELECT coalesce(array_agg(moved.product_id), '{}') INTO products FROM moved;
    IF cardinality(products) > 0 THEN
        PERFORM note_sold_out(products);
    END IF;
    RETURN products;
END
$$;

-- Buries order ids whose permit is overdue, unless they reserved; answers what is stored of them now.
CREATE OR REPLACE FUNCTION bury(order_ids text[])
RETURNS TABLE (order_of text, state_now text, line_epochs text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reservation (order_id, state)
    SELECT id, 'TOMB' FROM unnest(order_ids) AS n(id) ORDER BY id
    ON CONFLICT DO NOTHING;
    RETURN QUERY
        SELECT r.order_id, r.state, (
            SELECT jsonb_object_agg(l.product_id, l.epoch)::text FROM reservation_line l
            WHERE l.order_id = r.order_id
        )
        FROM reservation r WHERE r.order_id = ANY (order_ids);
END
$$;

-- Hands out payments that were pinned (or asked about) too long ago, each to one asker at a time; they come up
-- again after "again_seconds" (or "older_than_seconds", if that is less).
CREATE OR REPLACE FUNCTION stale_pins(
    older_than_seconds double precision, again_seconds double precision, at_most integer
) RETURNS TABLE (order_of text, attempt_now integer) LANGUAGE sql AS $$
    WITH due AS (
        SELECT r.order_id FROM reservation r
        WHERE r.state = 'PAYING'
          AND r.asked_at < clock_timestamp() - make_interval(secs => older_than_seconds)
        ORDER BY r.asked_at LIMIT at_most FOR UPDATE SKIP LOCKED
    )
    UPDATE reservation r
    SET asked_at = clock_timestamp()
        - make_interval(secs => older_than_seconds - least(older_than_seconds, again_seconds))
    FROM due
    WHERE r.order_id = due.order_id RETURNING r.order_id, r.attempt
$$;
