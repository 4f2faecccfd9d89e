-- Releases the hold of an order that will not be placed; returns how many were. The products are locked first, as
-- everywhere: the row's filter asks for their locks before the row itself is locked and looked at again.
SELECT release_locked(
    ARRAY(SELECT r.order_id FROM reservation r
          WHERE r.order_id = $1 AND r.state = 'HELD'
            AND (SELECT count(lock_products_of(ARRAY[$1::text]))) = 1
          FOR UPDATE),
    'refused'
)
