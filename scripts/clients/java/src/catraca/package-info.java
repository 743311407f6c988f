/**
 * A client of catraca, the payment-decision engine, with nothing but the JDK (17 or newer). It speaks the client protocol
 * (wire/PROTOCOL.md), version 1; begin with {@link catraca.Client}.
 *
 * <p>No argument and no result is null, except where its comment says so. No checked exception is declared: whatever fails is a
 * {@link catraca.CatracaException}, which tells whether there may be a decision all the same.
 */
package catraca;
