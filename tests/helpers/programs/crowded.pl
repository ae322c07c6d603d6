use Socket;
$| = 1;
print "$ENV{PORT}\n";
<STDIN>;
for my $port ($ENV{PORT} .. $ENV{PORT} + 9) {
    socket(my $sock, PF_INET, SOCK_STREAM, 0);
    select(undef, undef, undef, rand(0.1));
    my $ok = bind($sock, sockaddr_in($port, INADDR_ANY));
    select(undef, undef, undef, rand(0.1));
    $ok &&= listen($sock, 5);
    print $ok ? "ok\n" : "$port: $!\n";
    push @all, $sock;
}
<STDIN>;
