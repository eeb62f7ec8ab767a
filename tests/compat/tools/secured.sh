# shellcheck shell=bash disable=SC2154
# The cases of a listener where callers log in: delegation tokens, of which users are given some and log in by them. Sourced by `suite`.

# How each of them logs in; the passwords are those that `run` has given the broker.
for user in admin alice bob carol; do
  cat >"$WORK/$user.properties" <<EOF
security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="$user" password="$user-secret";
EOF
done
# The same for whoever shows a token.
by_token() {
  cat >"$WORK/token.properties" <<EOF
security.protocol=SASL_PLAINTEXT
sasl.mechanism=$3
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$1" password="$2" tokenauth="true";
EOF
}
as() {
  local who=$1 command=$2
  shift 2
  tool "$command" --bootstrap-server "$BOOTSTRAP" --command-config "$WORK/$who.properties" "$@"
}
tokens_as() { as "$1" $tools.DelegationTokenCommand "${@:2}"; }
# The lines about tokens: id, HMAC, owner, requester, renewers, times.
token_lines() { awk 'length($2) == 88'; }

token_created() {
  tokens_as alice --create --max-life-time-period -1 --renewer-principal User:bob | token_lines >"$WORK/token"
  same 1 "$(wc -l <"$WORK/token")" || return 1
  read -r token_id token_hmac token_owner token_requester token_renewers _ <"$WORK/token"
  same "22 88 User:alice User:alice [User:bob]" "${#token_id} ${#token_hmac} $token_owner $token_requester $token_renewers"
}
token_login() {
  as admin $tools.TopicCommand --create --topic guarded --partitions 1 || return 1
  as admin $tools.AclCommand --add --allow-principal User:alice --operation Describe --operation DescribeConfigs --topic guarded >/dev/null || return 1
  local mechanism
  for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    by_token "$token_id" "$token_hmac" "$mechanism"
    has "PartitionCount: 1" "$(as token $tools.TopicCommand --describe --topic guarded)" || return 1
  done
}
token_gets_no_token() {
  tokens_as token --create --max-life-time-period -1 && return 1
  has "Delegation Token requests are not allowed" "$(cat "$WORK/said" "$WORK/errors")"
}
token_described() {
  local who
  for who in alice bob admin; do
    same "$token_id" "$(tokens_as $who --describe --owner-principal User:alice | token_lines | awk '{ print $1 }')" || return 1
  done
  same "" "$(tokens_as carol --describe --owner-principal User:alice | token_lines)"
}
token_renewed() {
  tokens_as bob --renew --renew-time-period 3600000 --hmac "$token_hmac" || return 1
  tokens_as carol --renew --renew-time-period -1 --hmac "$token_hmac" && return 1
  has "DelegationTokenOwnerMismatchException" "$(cat "$WORK/said" "$WORK/errors")"
}
token_for_another() {
  tokens_as alice --create --max-life-time-period -1 --owner-principal User:carol && return 1
  has "DelegationTokenAuthorizationException" "$(cat "$WORK/said" "$WORK/errors")" || return 1
  as admin $tools.AclCommand --add --allow-principal User:alice --operation CreateTokens --user-principal User:carol >/dev/null || return 1
  same "User:carol User:alice" "$(tokens_as alice --create --max-life-time-period -1 --owner-principal User:carol | token_lines | awk '{ print $3, $4 }')"
}
token_outlives_a_restart() {
  restarted && has "PartitionCount: 1" "$(as token $tools.TopicCommand --describe --topic guarded)"
}
token_expired() {
  tokens_as alice --expire --expiry-time-period -1 --hmac "$token_hmac" || return 1
  tokens_as alice --renew --renew-time-period -1 --hmac "$token_hmac" && return 1
  has "DelegationTokenNotFoundException" "$(cat "$WORK/said" "$WORK/errors")" || return 1
  as token $tools.TopicCommand --describe --topic guarded && return 1
  has "SaslAuthenticationException" "$(cat "$WORK/said" "$WORK/errors")"
}
