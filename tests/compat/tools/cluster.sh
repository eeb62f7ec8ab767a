# The cases of the tools for what is the cluster's: its features, its quorum, where partitions lie, access lists, telemetry; and transactions.

transactions() { tool $tools.TransactionsCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
reassign() { tool $tools.reassign.ReassignPartitionsCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
elect() { tool $tools.LeaderElectionCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
features() { tool $tools.FeatureCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
quorum() { tool $tools.MetadataQuorumCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
client_metrics_tool() { tool $tools.ClientMetricsCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
cluster_tool() { tool $tools.ClusterTool "$@" --bootstrap-server "$BOOTSTRAP"; }
transact() { tool $tools.ProducerPerformance --topic transacted --num-records "$1" --record-size 10 --throughput "$2" --transactional-id "$3" --transaction-duration-ms "$4" \
  --bootstrap-server "$BOOTSTRAP"; }
# The columns of the line that begins with $1, with one space between them.
columns() { awk -v wanted="$1" '$1 == wanted || $2 == wanted { $1 = $1; print }'; }

committed() {
  tool $tools.consumer.ConsoleConsumer --bootstrap-server "$BOOTSTRAP" --topic transacted --partition 0 --offset earliest --isolation-level read_committed \
    --timeout-ms 10000 | grep -cE '^[A-Z]{10}$'
}
transaction_describe() {
  topics --create --topic transacted --partitions 1 && transact 100 -1 done 200 || return 1
  like '^done [0-9]+ [0-9]+ CompleteCommit$' "$(transactions list | columns done)" || return 1
  like '^[0-9]+ done [0-9]+ [0-9]+ CompleteCommit 60000 ' "$(transactions describe --transactional-id done | columns done)" || return 1
  transactions describe --transactional-id never 2>"$WORK/never" && return 1
  has "failed because the ID could not be found" "$(cat "$WORK/never")" &&
    like $'None[ \t]*$' "$(transactions describe-producers --topic transacted --partition 0)"
}
transaction_ongoing() {
  # It sends until it is told that its transaction is over.
  transact 1000000 20 open 55000 >"$WORK/open" 2>&1 &
  local producer=$! id epoch
  within 40 eval 'transactions list | grep -q "^open.*Ongoing"' || return 1
  sleep 2
  has open "$(transactions list --duration-filter 1000)" && same "" "$(transactions list --duration-filter 600000 | grep open)" &&
    same open "$(transactions list --transactional-id-pattern 'op.n' | tail -n 1 | awk '{ print $1 }')" || return 1
  like '^[0-9]+ open [0-9]+ 0 Ongoing 60000 [0-9]+ [0-9]+ transacted-0$' "$(transactions describe --transactional-id open | columns open)" || return 1
  like $'\t10[0-9][ \t]*$' "$(transactions describe-producers --topic transacted --partition 0)" || return 1
  same 1 "$(transactions find-hanging --topic transacted | wc -l)" || return 1
  transactions abort --topic transacted --partition 0 --start-offset 0 2>"$WORK/never" && return 1
  has "Could not find any open transactions starting at offset 0" "$(cat "$WORK/never")" || return 1
  same "100" "$(committed)" || return 1
  transactions forceTerminateTransaction --transactionalId open || return 1
  wait $producer && { reason="the producer has ended well"; return 1; }
  same "" "$(transactions list | grep Ongoing)" && same "100" "$(committed)"
}

placement() { # of both partitions on broker $1
  echo '{"version":1,"partitions":[{"topic":"placed","partition":0,"replicas":['"$1"']},{"topic":"placed","partition":1,"replicas":['"$1"']}]}'
}
reassign_partitions() {
  local id said
  topics --create --topic placed --partitions 2 || return 1
  id=$(broker_id placed)
  has "No partition reassignments found." "$(reassign --list)" || return 1
  echo '{"topics":[{"topic":"placed"}],"version":1}' >"$WORK/move.json"
  has "{\"topic\":\"placed\",\"partition\":1,\"replicas\":[$id],\"log_dirs\":[\"any\"]}" "$(reassign --generate --topics-to-move-json-file "$WORK/move.json" --broker-list "$id")" || return 1
  placement "$id" >"$WORK/placed.json"
  has "Successfully started partition reassignments for placed-0,placed-1" "$(reassign --execute --reassignment-json-file "$WORK/placed.json")" || return 1
  said=$(reassign --verify --reassignment-json-file "$WORK/placed.json")
  has "Reassignment of partition placed-0 is completed." "$said" && has "Clearing topic-level throttles on topic placed" "$said" || return 1
  has "None of the specified partition reassignments are active." "$(reassign --cancel --reassignment-json-file "$WORK/placed.json")"
}
reassign_refused() {
  placement 77 >"$WORK/nowhere.json"
  reassign --execute --reassignment-json-file "$WORK/nowhere.json" && return 1
  has "Unknown broker id 77" "$(cat "$WORK/said" "$WORK/errors")"
}
leader_election() {
  elect --election-type preferred --all-topic-partitions || return 1
  has "Valid replica already elected for partitions placed-0" "$(elect --election-type preferred --topic placed --partition 0)" || return 1
  echo '{"partitions":[{"topic":"placed","partition":0},{"topic":"placed","partition":1}]}' >"$WORK/elect.json"
  has "Valid replica already elected for partitions" "$(elect --election-type unclean --path-to-json-file "$WORK/elect.json")" || return 1
  elect --election-type preferred --topic never --partition 0 && return 1
  has "UnknownTopicOrPartitionException" "$(cat "$WORK/said" "$WORK/errors")"
}
feature_describe() {
  local said name
  said=$(features describe)
  for name in group.version:1 share.version:1 streams.version:1 transaction.version:2; do
    like "Feature: ${name%:*}.*FinalizedVersionLevel: ${name#*:}" "$said" || return 1
  done
  has "Feature: metadata.version" "$said"
}
feature_change() {
  has "transaction.version can be upgraded to 2." "$(features upgrade --feature transaction.version=2 --dry-run)" || return 1
  has "transaction.version was upgraded to 2." "$(features upgrade --feature transaction.version=2)" || return 1
  features upgrade --feature transaction.version=3 && return 1
  has "Could not upgrade transaction.version to 3." "$(cat "$WORK/said" "$WORK/errors")" || return 1
  features upgrade --feature never.version=2 && return 1
  has "Could not upgrade never.version to 2." "$(cat "$WORK/said" "$WORK/errors")"
}
metadata_quorum() {
  local said
  said=$(quorum describe --status)
  like 'LeaderId: +[0-9]+' "$said" && like 'HighWatermark: +[0-9]+' "$said" && like 'CurrentObservers: +\[\]' "$said" && like 'CurrentVoters: +\[\{' "$said" || return 1
  like $'Leader[ \t]*$' "$(quorum describe --replication)" && has " ms ago" "$(quorum describe --replication --human-readable)"
}
client_metrics() {
  client_metrics_tool --alter --name sub --metrics org.apache.kafka.producer. --interval 10000 --match 'client_id=x.*' || return 1
  same sub "$(client_metrics_tool --list)" || return 1
  same "interval.ms=10000 match=client_id=x.* metrics=org.apache.kafka.producer." "$(client_metrics_tool --describe --name sub | tail -n 3 | sort | xargs)" || return 1
  like 'Altered client metrics config for [A-Za-z0-9_-]{22}\.' "$(client_metrics_tool --alter --generate-name --metrics org.apache.kafka.consumer.)" || return 1
  same 2 "$(client_metrics_tool --list | wc -l)" && client_metrics_tool --delete --name sub && same 1 "$(client_metrics_tool --list | wc -l)"
}
client_metrics_refused() {
  client_metrics_tool --alter --name bad --interval 1 && return 1
  has "interval must be between 100 and 3600000" "$(cat "$WORK/said" "$WORK/errors")" || return 1
  client_metrics_tool --alter --name bad --match nothing=x && return 1
  like "[Ii]llegal client matching pattern|Illegal" "$(cat "$WORK/said" "$WORK/errors")"
}
cluster() {
  has "Cluster ID: " "$(cluster_tool cluster-id)" && like "^$(broker_id made) +127.0.0.1 +${BOOTSTRAP#*:} " "$(cluster_tool list-endpoints | tail -n 1)"
}
quotas() {
  configs --alter --entity-type clients --entity-name quoted --add-config producer_byte_rate=100000 || return 1
  has "producer_byte_rate=100000.0" "$(configs --describe --entity-type clients --entity-name quoted)" || return 1
  configs --alter --entity-type users --entity-default --add-config consumer_byte_rate=200000 || return 1
  has "consumer_byte_rate=200000.0" "$(configs --describe --entity-type users --entity-default)" || return 1
  configs --alter --entity-type clients --entity-name quoted --delete-config producer_byte_rate &&
    configs --alter --entity-type users --entity-default --delete-config consumer_byte_rate && same "" "$(configs --describe --entity-type clients --entity-name quoted | grep byte_rate)"
}
dynamic_broker_configs() {
  local id
  id=$(broker_id made)
  configs --alter --entity-type brokers --entity-name "$id" --add-config log.cleaner.threads=2 || return 1
  has "log.cleaner.threads=2 " "$(configs --describe --entity-type brokers --entity-name "$id")" || return 1
  configs --alter --entity-type brokers --entity-default --add-config log.cleaner.threads=3 || return 1
  has "log.cleaner.threads=3 " "$(configs --describe --entity-type brokers --entity-default)" || return 1
  configs --alter --entity-type brokers --entity-name "$id" --delete-config log.cleaner.threads &&
    configs --alter --entity-type brokers --entity-default --delete-config log.cleaner.threads &&
    same "" "$(configs --describe --entity-type brokers --entity-name "$id" | grep log.cleaner.threads)"
}
acls() { tool $tools.AclCommand --bootstrap-server "$BOOTSTRAP" "$@"; }
acls_kept() {
  acls --add --allow-principal User:alice --allow-host 10.0.0.1 --operation Read --operation Describe --topic guarded --resource-pattern-type prefixed >/dev/null || return 1
  acls --add --deny-principal User:bob --operation Write --topic guarded-1 >/dev/null || return 1
  local listed
  listed=$(acls --list --topic guarded-1 --resource-pattern-type match)
  has "principal=User:alice, host=10.0.0.1, operation=READ, permissionType=ALLOW" "$listed" || return 1
  has "principal=User:bob, host=*, operation=WRITE, permissionType=DENY" "$listed" || return 1
  same "" "$(acls --list --topic other | grep principal)" || return 1
  acls --remove --force --topic guarded --resource-pattern-type prefixed >/dev/null && acls --remove --force --topic guarded-1 >/dev/null &&
    same "" "$(acls --list | grep principal)"
}
