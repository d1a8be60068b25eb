"""Pages of digits: characters found, touching ones cut, lines put in order, answers chosen."""
