-- Orders whose units one of these attempts holds: what take_back would move. Any other state is an end, or the hold's.
SELECT DISTINCT r.order_id
FROM unnest($1::text[], $2::integer[]) AS asked(order_id, attempt)
JOIN reservation r ON r.order_id = asked.order_id AND r.attempt = asked.attempt
WHERE r.state IN ('PAYING', 'SOLD')
